"""Bad requests of fal's API."""

from typing import Any

from tests.corpus.case import Case, written

APP = "fal-ai/flux-2/klein/4b"
RUN, QUEUE = f"/fal/run/{APP}", f"/fal/queue/{APP}"
VALUES: dict[str, list[Any]] = {
    "prompt": [None, "", "  ", 5, []],
    "image_size": ["large", {"width": 0, "height": 64}, {"width": "64"}],
    "num_images": [0, 5, "2"],
    "num_inference_steps": [0, 51],
    "seed": ["7", 0.5],
    "output_format": ["gif"],
}


def case(**values: Any) -> Case:
    """Send a request for an image."""
    defaults: dict[str, Any] = {"path": RUN, "status": 422, "dialect": "bfl"}
    return Case(**defaults | values)


CASES = [
    *(
        case(path=path, body=written({"prompt": "x"} | {field: value}), names=field)
        for path in (RUN, QUEUE)
        for field, values in VALUES.items()
        for value in values
    ),
    *(case(body=body, names="JSON object") for body in (b"", b"{", b"[]", b"null", b"\xff")),
    *(case(path=p, body=written({"prompt": "x"}), status=404, names="GET /v1/models") for p in ("/fal/run/fal-ai/flux/dev", "/fal/queue/x")),
    *(case(path=f"{QUEUE}?fal_webhook={u}", body=written({"prompt": "x"}), names="fal_webhook") for u in ("ftp://a", "nonsense")),
    *(case(path=path, key=key, status=401, names="Authorization: Key") for path in (RUN, QUEUE) for key in (None, "wrong")),
    *(case(method="GET", path=f"/fal/queue/fal-ai/flux-2/requests/x{end}", status=404, names="the id") for end in ("", "/status", "/status/stream")),
    case(method="PUT", path="/fal/queue/fal-ai/flux-2/requests/x/cancel", status=404, names="the id"),
    *(case(path="/fal/rest/storage/upload/initiate", body=written(b), names="content_type") for b in ({}, {"content_type": "video/mp4"}, {"content_type": 5})),
    case(path="/fal", body=b"{}", names="x-fal-target-url"),
    case(path="/fal", body=b"{}", headers={"x-fal-target-url": "https://example.com/"}, names="x-fal-target-url"),
    case(method="GET", path="/fal/nothing", status=404, names="path"),
    case(method="GET", path=RUN, status=405, names="POST"),
]  # fmt: skip
