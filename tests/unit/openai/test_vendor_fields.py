"""Every field of the SDK's requests is read, is documented as one without an effect, or is refused by name."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from openai.types.image_create_variation_params import ImageCreateVariationParams
from openai.types.image_edit_params import ImageEditParamsStreaming
from openai.types.image_generate_params import ImageGenerateParamsStreaming

from app.dialects.openai.body import ImageBody, parse_body, read_inputs
from app.predictions.errors import InvalidInput

PAGE = (Path(__file__).parents[3] / "docs" / "dialects.md").read_text()
OPENAI = PAGE.partition("## OpenAI")[2].partition("\n## ")[0]
REQUESTS: list[Any] = [
    ImageGenerateParamsStreaming,
    ImageEditParamsStreaming,
    ImageCreateVariationParams,
]
REFUSED = {"output_format": {"gif", "svg"}}
NOT_IN_BODY = {"image", "mask"}  # files
HINTS = [
    (request, name, hint) for request in REQUESTS for name, hint in get_type_hints(request).items()
]


def literals(hint: Any) -> list[Any]:
    """List the values that a type names."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for part in get_args(hint) for value in literals(part)]


@pytest.mark.parametrize("name", sorted({name for _, name, _ in HINTS}))
def test_field_is_read_or_documented(name):
    """A field that is not read is on the page."""
    assert name in {*ImageBody.model_fields, *NOT_IN_BODY} or f"`{name}`" in OPENAI


@pytest.mark.parametrize(
    ("name", "value"),
    sorted({(name, value) for _, name, hint in HINTS for value in literals(hint)}, key=str),
)
def test_value_is_taken(name, value):
    """Each value that the SDK names for a field gives an input, unless it is a format that is not written."""
    body = {"prompt": "x", name: value}
    if value in REFUSED.get(name, ()):
        with pytest.raises(InvalidInput, match=name):
            parse_body(body)
    else:
        assert read_inputs(parse_body(body), [])


def test_markup_is_refused():
    """A drawing that says what to change is refused by name, because an edit without it would be another."""
    with pytest.raises(InvalidInput, match=r"markup: .* mask"):
        parse_body({"prompt": "x", "markup": "data:image/png;base64,AAAA"})
