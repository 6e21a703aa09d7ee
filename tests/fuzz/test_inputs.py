"""Tests that the catalog and its published schema accept the same inputs."""

from math import isfinite

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.predictions.catalog import MODELS
from app.predictions.errors import InvalidInput
from app.predictions.sizes import NAMED_SIZES
from app.predictions.visible_text import is_blank

ANYTHING = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text()
PROMPT = {"prompt": st.just("x") | st.text(max_size=20) | ANYTHING}
LORA = st.fixed_dictionaries(
    {"path": st.sampled_from(["a.safetensors", "b.bin"])},  # a schema cannot require a safe path
    optional={"scale": st.integers(-5, 5) | st.floats(-5, 5)},
)
VALUES = {
    "num_inference_steps": st.integers(-2, 55) | ANYTHING,
    "num_images": st.integers(-1, 6) | ANYTHING,
    "seed": st.integers(-(2**65), 2**65) | ANYTHING,
    "image_size": st.sampled_from([*NAMED_SIZES, "huge"]) | ANYTHING,
    "acceleration": st.sampled_from(["none", "regular", "high", "x"]) | ANYTHING,
    "output_format": st.sampled_from(["png", "jpeg", "webp", "gif"]) | ANYTHING,
    "output_quality": st.integers(-1, 102) | ANYTHING,
    "sync_mode": ANYTHING,
    "enable_safety_checker": ANYTHING,
    "guidance_scale": st.floats(-1, 21) | ANYTHING,
    "loras": st.lists(LORA, max_size=4, unique_by=lambda lora: lora["path"])
    | ANYTHING,  # a schema cannot require distinct paths
    "negative_prompt": ANYTHING,
    "strength": st.floats(-1, 2) | ANYTHING,
    "image_urls": st.lists(st.text(max_size=5), max_size=6) | ANYTHING,
}


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.slug)
@given(sent=st.fixed_dictionaries(PROMPT, optional=VALUES))
def test_schema_and_catalog_agree(model, sent):
    """Schema and catalog accept the same inputs, except for null, blank prompts and numbers that JSON cannot represent."""
    refused = set()
    try:
        model.parse(sent)
    except InvalidInput as exc:
        refused = {problem.field.partition("[")[0] for problem in exc.problems}
    validator = jsonschema.Draft202012Validator(model.request_schema)
    wrong = {
        str(error.path[0]) if error.path else error.message.split("'")[1]
        for error in validator.iter_errors(sent)
    }
    unwritable = {name for name, v in sent.items() if isinstance(v, float) and not isfinite(v)}
    blank = {"prompt"} if is_blank(str(sent["prompt"])) else set()
    nulls = {name for name, value in sent.items() if value is None}

    # The schema accepts nothing that the catalog refuses, and refuses nothing that it accepts but null.
    assert refused - blank - unwritable <= wrong
    assert wrong - nulls - unwritable <= refused
