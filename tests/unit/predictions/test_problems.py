"""Tests of the words for invalid fields: plain, about the caller's fields, and without pydantic's terms."""

import re
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.predictions.problems import location, problems_of


class Inner(BaseModel):
    """An object within the input."""

    side: int


class Body(BaseModel):
    """A body with every kind of field that the dialects have."""

    model_config = ConfigDict(strict=True)

    text: str = Field("a", min_length=1, max_length=3)
    whole: int = Field(1, ge=1, le=4, multiple_of=2)
    number: float = Field(1, gt=0, lt=2, allow_inf_nan=False)
    is_on: bool = False
    choice: Literal["one", "two"] = "one"
    texts: Annotated[list[str], Field(min_length=1, max_length=2)] = ["a"]
    inner: Literal["none"] | Inner = "none"
    anything: dict[str, int] = {}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("text", "", "must not be empty"),
        ("text", "long", "must have at most 3 characters"),
        ("text", 5, "must be a string"),
        ("whole", "2", "must be a whole number"),
        ("whole", 2.5, "must be a whole number"),
        ("whole", 0, "must be at least 1"),
        ("whole", 6, "must be at most 4"),
        ("whole", 3, "must be a multiple of 2"),
        ("number", "1", "must be a number"),
        ("number", 0, "must be more than 0"),
        ("number", 2, "must be less than 2"),
        ("number", float("inf"), "must be a finite number"),
        ("is_on", "yes", "must be true or false"),
        ("choice", "three", "must be 'one' or 'two'"),
        ("texts", "a", "must be a list"),
        ("texts", [], "must not be empty"),
        ("texts", ["a"] * 3, "must have at most 2 items"),
        ("texts", ["a", None], "item 2 must be a string"),
        ("inner", 5, "must be 'none', or an object"),
        ("inner", {}, "side is required"),
        ("inner", {"side": "x"}, "side must be a whole number"),
        ("anything", [], "must be an object"),
    ],
)
def test_problem_says_what_to_send(field, value, message):
    """Each problem names the field as the caller wrote it, and says what its value must be."""
    with pytest.raises(ValidationError) as caught:
        Body.model_validate({field: value})

    [problem] = problems_of(caught.value)
    assert (problem.field, problem.message) == (field, message)
    assert not re.search(r"Input|dictionary|instance|validation|pattern", problem.message)


def test_missing_field_is_named():
    """A missing field is required."""
    with pytest.raises(ValidationError) as caught:
        Inner.model_validate({})

    [problem] = problems_of(caught.value)
    assert (problem.field, problem.message) == ("side", "this field is required")


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("seed", ["seed"]),
        ("image_urls[1]", ["image_urls", 1]),
        ("loras[0].scale", ["loras", 0, "scale"]),
    ],
)
def test_location_of_field(field, path):
    """The name of a field becomes its path, as FastAPI writes it."""
    assert location(field) == path
