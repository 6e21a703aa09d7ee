"""Tests of the messages of the domain's errors."""

import pytest

from app.predictions import errors
from app.predictions.errors import AlreadyFinal, FieldProblem, InvalidInput, KleinError


def test_invalid_input_names_each_field():
    """The message of an invalid input has each field and its problem."""
    problems = FieldProblem(field="seed", message="too big"), FieldProblem(field="x", message="y")

    assert str(InvalidInput(*problems)) == "seed: too big; x: y"
    assert InvalidInput(*problems).problems == problems


def test_already_final_names_status():
    """The message says how the prediction ended."""
    assert str(AlreadyFinal("failed")) == "the prediction has already ended: failed"


@pytest.mark.parametrize("kind", KleinError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_error_has_docstring(kind):
    """Each error has a docstring, and the docstring of `errors` lists those of that module."""
    assert kind.__doc__
    if kind.__module__ == errors.__name__:
        assert kind.__name__ in (errors.__doc__ or "")
