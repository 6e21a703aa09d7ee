"""How each dialect formats an error."""

from typing import Any, Literal

Dialect = Literal["eachlabs", "replicate", "openai", "bfl", "a1111"]


def parse_error(  # noqa: C901 -- one case a dialect
    dialect: Dialect, body: Any
) -> tuple[int | None, list[str], str]:
    """Return the status in the body (some have none), the fields that the error names, and its whole text.

    Raises KeyError, TypeError or ValueError if the body has another form.
    """
    match dialect:
        case "eachlabs":
            if set(body) != {"status", "error", "message", "details"}:
                raise KeyError(*body)
            if body["message"] != body["error"]:
                raise ValueError("error and message differ")
            details = body["details"]
            if isinstance(details, str):
                field, colon, _ = details.partition(": ")
                is_field = colon and " " not in field
                return body["status"], [field] if is_field else [], f"{body['error']} {details}"
            fields = [problem["field"] for problem in details]
            return body["status"], fields, " ".join(problem["message"] for problem in details)
        case "replicate":
            fields = [problem["field"] for problem in body.get("invalid_fields", [])]
            return body["status"], fields, f"{body['title']} {body['detail']}"
        case "a1111":
            if set(body) != {"error", "detail", "body", "errors"}:
                raise KeyError(*body)
            return None, [], body["errors"]
        case "bfl":
            return _parse_detail(body["detail"])
        case "openai":
            error = body["error"]
            if set(error) != {"message", "type", "param", "code"}:
                raise KeyError(*error)
            if error["type"] != "invalid_request_error":
                raise ValueError(error["type"])
            return None, [error["param"]] if error["param"] else [], error["message"]


def _parse_detail(detail: Any) -> tuple[None, list[str], str]:
    """Parse the errors of FastAPI's form."""
    if isinstance(detail, str):
        return None, [], detail
    return None, [p["loc"][-1] for p in detail], " ".join(p["msg"] for p in detail)
