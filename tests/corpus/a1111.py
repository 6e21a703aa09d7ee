"""Bad requests of the API of Stable Diffusion web UI."""

from typing import Any

from tests.corpus.case import Case, written
from tests.corpus.images import PNG, uri

TEXT, EDIT = "/sdapi/v1/txt2img", "/sdapi/v1/img2img"
VALUES: dict[str, list[Any]] = {
    "prompt": ["", "  ", 5, [], "a" * 10_001, "<lora:a:1.2.3>"],
    "negative_prompt": [5, []],
    "seed": ["x", 0.5, [], 2**63],
    "steps": [0, -1, "x"],
    "cfg_scale": [-1, "x", 1000],
    "width": [0, 9000, "wide"],
    "batch_size": [0, 17, "x"],
    "n_iter": [0, 99],
    "override_settings": [5, []],
    "mask": ["AAAA", uri(PNG)],
}


def case(**values: Any) -> Case:
    """Send a request for images."""
    defaults: dict[str, Any] = {"path": TEXT, "status": 422, "dialect": "a1111"}
    return Case(**defaults | values)


WRONG_IMAGES: list[dict[str, Any]] = [
    {},
    {"init_images": []},
    {"init_images": "AAAA"},
    {"init_images": [5]},
    {"init_images": ["nonsense"]},
    {"init_images": ["http://10.0.0.1/"]},
    {"init_images": [uri(PNG)] * 5},
]
CASES = [
    *(
        case(body=written({"prompt": "a red circle"} | {field: value}), names=field)
        for field, values in VALUES.items()
        for value in values
    ),
    *(
        case(path=EDIT, body=written({"prompt": "x"} | sent), names="init_images")
        for sent in WRONG_IMAGES
    ),
    *(case(body=body, names="JSON object") for body in (b"", b"{", b"[]", b"null", b"\xff")),
    case(
        body=written({"prompt": "x", "override_settings": {"sd_model_checkpoint": "sdxl"}}),
        status=404,
        names="GET /v1/models",
    ),
    case(path="/sdapi/v1/options", body=written({"sd_model_checkpoint": "sdxl"}), status=404, names="GET /v1/models"),
    *(case(path=path, key=key, status=401, names="X-API-Key") for path in (TEXT, EDIT) for key in (None, "wrong")),
    case(method="GET", path="/sdapi/v1/nothing", status=404, names="path"),
    case(method="GET", path=TEXT, status=405, names="POST"),
]  # fmt: skip
