"""Bad requests of the API of Black Forest Labs."""

from typing import Any

from tests.corpus.case import Case, written
from tests.corpus.images import PNG, uri

CREATE = "/bfl/v1/flux-2-klein-4b"
VALUES: dict[str, list[Any]] = {
    "prompt": [None, "", "  ", 5, [], "a" * 10_001],
    "input_image": [5, [], "http://10.0.0.1/", "nonsense", "data:image/png;base64,AAAA"],
    "input_image_2": [{}, "file:///etc/passwd"],
    "width": [-64, 9000, "512", 0.5],
    "height": [-1, "x"],
    "mask": [5, uri(PNG)],
    "input_image_blob_path": ["a/b.png"],
    "aspect_ratio": ["wide", "0:1", 1, "1:1:1"],
    "seed": ["7", 0.5, True, 2**63],
    "steps": [0, 51, "x"],
    "output_format": ["gif", 1],
    "webhook_url": ["ftp://a", "nonsense", 5],
}


def case(**values: Any) -> Case:
    """Send a request for an image."""
    defaults: dict[str, Any] = {"path": CREATE, "status": 422, "dialect": "bfl"}
    return Case(**defaults | values)


CASES = [
    *(
        case(body=written({"prompt": "a red circle"} | {field: value}), names=field)
        for field, values in VALUES.items()
        for value in values
    ),
    case(
        body=written({"prompt": "x"} | {f"input_image_{k}": uri(PNG) for k in range(2, 7)}),
        names="input_image_6",
    ),
    *(case(body=body, names="JSON object") for body in (b"", b"{", b"[]", b"null", b"\xff")),
    *(
        case(path=path, body=written({"prompt": "x"}), status=404, names="GET /v1/models")
        for path in ("/bfl/v1/flux-pro-1.0-fill", "/bfl/v1/flux-2-klein-4b-edit", "/bfl/v1/%00")
    ),
    *(case(path=CREATE, key=key, status=401, names="x-key") for key in (None, "wrong")),
    case(method="GET", path="/bfl/v1/get_result", status=400, names="id"),
    case(method="GET", path="/bfl/nothing", status=404, names="path"),
    case(method="GET", path=CREATE, status=405, names="POST"),
]
