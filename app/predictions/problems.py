"""Translates pydantic's errors into problems with the caller's field names."""

from pydantic import ValidationError

from app.predictions.errors import FieldProblem


def problems_of(exc: ValidationError) -> list[FieldProblem]:
    """Return one problem for each invalid field."""
    problems: dict[str, FieldProblem] = {}
    for error in exc.errors(include_url=False, include_context=False, include_input=False):
        field = _name(error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        # a union reports every branch; an error inside a branch counts more than "another type"
        if field not in problems or error["type"] not in {
            "literal_error",
            "model_type",
            "none_required",
        }:
            problems[field] = FieldProblem(field=field, message=message)
    return list(problems.values())


def _name(path: tuple[int | str, ...]) -> str:
    """Return a field's name as the caller wrote it, without the branches of unions."""
    match path:
        case ("loras", int(k), str(field)):
            return f"loras[{k}].{field}"
        case ("loras", int(k)):
            return f"loras[{k}]"
    return str(path[0]) if path else "prompt"
