"""What pydantic finds wrong with an input, in the words and names of the caller."""

from pydantic import ValidationError

from app.predictions.errors import FieldProblem


def problems_of(exc: ValidationError) -> list[FieldProblem]:
    """Say what is wrong with each field, once a field."""
    problems: dict[str, FieldProblem] = {}
    for error in exc.errors(include_url=False, include_context=False, include_input=False):
        field = _name(error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        # a union reports every branch: one that merely says "another type" yields to one that looked inside
        if field not in problems or error["type"] not in {
            "literal_error",
            "model_type",
            "none_required",
        }:
            problems[field] = FieldProblem(field=field, message=message)
    return list(problems.values())


def _name(path: tuple[int | str, ...]) -> str:
    """Name a field as the caller wrote it; deeper than a LoRA's own fields lie union branches."""
    match path:
        case ("loras", int(k), str(field)):
            return f"loras[{k}].{field}"
        case ("loras", int(k)):
            return f"loras[{k}]"
    return str(path[0]) if path else "prompt"
