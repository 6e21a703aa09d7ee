"""Translates pydantic's errors into problems with the caller's field names, in words that say what to send."""

import math
import re
from typing import Any

from pydantic import ValidationError

from app.predictions.errors import FieldProblem
from app.predictions.json_values import normalised

# a union reports every branch; an error inside a branch counts more than "another type"
_OF_BRANCH = frozenset({"literal_error", "model_type", "dict_type", "none_required"})
_TEXTS = {
    "missing": "this field is required",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} items",
    "datetime_type": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_parsing": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_from_date_parsing": "must be a time such as 2026-01-31T12:00:00Z",
    "timezone_naive": "must be a time with its zone, such as 2026-01-31T12:00:00Z",
}
_BRANCH = re.compile(r"[\[A-Z]|^(none|str|int|float|bool|constrained-\w+)$")
"""How pydantic names the branch of a union."""
_BOUNDS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
_EMPTY = {"string_too_short", "too_short"}


def problems_of(exc: ValidationError) -> list[FieldProblem]:
    """Return one problem for each invalid field."""
    errors: dict[str, list[Any]] = {}
    for error in exc.errors(include_url=False):
        errors.setdefault(_name(error["loc"]), []).append(error)
    return [FieldProblem(field=name, message=_describe_all(errors[name])) for name in errors]


def _describe_all(errors: list[Any]) -> str:
    """Describe the errors of a field. For a union they are those of every branch."""
    inside = [error for error in errors if error["type"] not in _OF_BRANCH]
    if inside:
        return _describe_inner(inside[0])
    is_union = len({error["type"] for error in errors}) > 1
    return _describe_inner(errors[0]) + (", or an object" if is_union else "")


def _describe_inner(error: Any) -> str:
    """Describe an error that may lie within the value of a field."""
    text, inner = describe_problem(error), _inner_name(error["loc"])
    if not inner:
        return text
    return f"{inner} is required" if error["type"] == "missing" else f"{inner} {text}"


def describe_problem(error: Any) -> str:
    """Say what a value must be. Any: an error of pydantic or FastAPI, as a dict."""
    kind, context = error["type"], normalised(error.get("ctx", {}))
    if kind in _BOUNDS and _is_nan(error.get("input")):
        kind = "float_parsing"
    if kind in _EMPTY and context.get("min_length") == 1:
        return "must not be empty"
    text = _TEXTS.get(kind)
    return (
        str(error["msg"]).removeprefix("Value error, ") if text is None else text.format(**context)
    )


def _is_nan(value: Any) -> bool:
    """Return whether a value is read as NaN, which lies within no bounds."""
    try:
        return math.isnan(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def location(field: str) -> list[int | str]:
    """Return the path of a field's name: `loras[0].scale` is at "loras", 0, "scale"."""
    parts = re.findall(r"[^.\[\]]+", field)
    return [int(part) if part.isdecimal() else part for part in parts]


def _name(path: tuple[int | str, ...]) -> str:
    """Return a field's name as the caller wrote it, such as `seed` or `loras[0].scale`."""
    match path:
        case ("loras", int(k), str(field)):
            return f"loras[{k}].{field}"
        case ("loras", int(k)):
            return f"loras[{k}]"
    return str(path[0]) if path else "prompt"


def _inner_name(path: tuple[int | str, ...]) -> str:
    """Return what is wrong within the value of a field, such as `width` or `item 2`; empty for the value itself."""
    if len(path) < 2 or path[0] == "loras":  # noqa: PLR2004 -- the field and a part of it
        return ""
    last = path[-1]
    if isinstance(last, int):
        return f"item {last + 1}"
    return "" if _BRANCH.search(last) else last
