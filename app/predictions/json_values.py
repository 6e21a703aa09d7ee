"""Reads JSON objects as the models of every dialect do."""

from typing import Any


def normalised(values: Any) -> Any:
    """Take null for absent and, as JSON Schema does, 4.0 for 4."""
    if not isinstance(values, dict):
        return values
    return {name: whole(value) for name, value in values.items() if value is not None}


def whole(value: Any) -> Any:
    """Return a number without a fraction as an integer, and every other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
