"""The hosted service's schemas, as JSON Schema, and bodies that follow them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

FOLDER = Path(__file__).parent


@cache
def hosted(name: str) -> jsonschema.Draft202012Validator:
    """Give the validator of one of the hosted schemas."""
    document = json.loads((FOLDER / "hosted.schema.json").read_text())
    return jsonschema.Draft202012Validator(
        document | {"$ref": f"#/$defs/{name}"},
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    )


def example(name: str) -> Any:
    """Read an example body."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def differences(name: str, body: Any) -> set[str]:
    """Tell where a body differs from a hosted schema: the schema and the place, e.g. `Prediction.status`."""
    errors = hosted(name).iter_errors(body)
    return {".".join([name, *(str(part) for part in error.absolute_path)]) for error in errors}
