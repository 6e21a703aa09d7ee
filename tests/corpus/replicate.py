"""Bad requests of Replicate's API."""

from typing import Any

from tests.corpus.case import CUT_OFF, FORM, JSON, Case, form, written
from tests.corpus.images import PNG, uri

MODEL = "black-forest-labs/flux-2-klein-4b"
OF_MODEL = f"/v1/models/{MODEL}/predictions"
VALUES: dict[str, list[Any]] = {
    "prompt": [None, "", "  ", 5, [], "a" * 10_001],
    "images": [5, uri(PNG), [5], [uri(PNG)] * 5, {}],
    "input_image": ["", "file:///etc/passwd", "data:image/png;base64,AAAA"],
    "input_image_2": ["http://10.0.0.1/"],
    "num_outputs": [0, 5, "2"],
    "width": [0, 9000, "512"],
    "images[0]": [[""], ["file:///etc/passwd"], ["http://10.0.0.1/"], ["data:image/png;base64,AAAA"]],
    "aspect_ratio": ["1:3", "", 1, "16:10", "custom"],
    "output_megapixels": [1, "3", "", "0", "-1"],
    "seed": ["7", 0.5, True, 2**63],
    "go_fast": ["yes", 1],
    "output_format": ["gif", "jpeg", 1],
    "output_quality": [-1, 101, "high", 9.5],
    "disable_safety_checker": [1, "true"],
}  # fmt: skip


def of_body(body: Any, status: int, names: str, path: str = OF_MODEL) -> Case:
    """Send a create request."""
    return Case(path=path, body=written(body), status=status, names=names, dialect="replicate")


FIELDS = [
    of_body({"input": {"prompt": "a"} | {field.partition("[")[0]: value}}, 422, field)
    for field, values in VALUES.items()
    for value in values
]
BODIES = [
    *(
        Case(path=OF_MODEL, body=b, status=422, names="JSON object", dialect="replicate")
        for b in (b"", b"{", b"[]", b"null", b'{"input": {"seed": NaN}}', b"\xff", b"[" * 4000)
    ),
    of_body({}, 422, "input"),
    Case(
        path=OF_MODEL,
        headers={"Cancel-After": "soon"},
        body=written({"input": {"prompt": "a"}}),
        status=422,
        names="Cancel-After",
        dialect="replicate",
    ),
    of_body({"input": None}, 422, "input"),
    of_body({"input": []}, 422, "input"),
    *(
        of_body({"input": {"prompt": "a"}, "webhook": url}, 422, "webhook")
        for url in ("ftp://a", "nonsense", "https://me:secret@host", 5, "https://h\n")
    ),
    *(
        of_body({"input": {"prompt": "a"}, "webhook_events_filter": e}, 422, "webhook_events_filter")
        for e in ("completed", ["done"], [1])
    ),
    *(
        of_body({"input": {"prompt": "a"}, "version": v}, 422, "version", "/v1/predictions")
        for v in (None, "", 5, "0" * 64, "stability-ai/sdxl", f"{MODEL}:latest", "a/b:" + "0" * 64)
    ),
]  # fmt: skip
ROUTES = [
    *(
        of_body({"input": {"prompt": "a"}}, 404, "model", f"/v1/models/{name}/predictions")
        for name in ("black-forest-labs/flux-schnell", "nobody/flux-2-klein-4b", "a/b")
    ),
    *(
        Case(method="GET", path=path, status=404, names="the id", dialect="replicate")
        for path in ("/v1/predictions/unknown", "/v1/predictions/%00%ff")
    ),
    Case(path="/v1/predictions/unknown/cancel", status=404, names="the id", dialect="replicate"),
    *(
        Case(method="GET", path=path, status=422, names="cursor", dialect="replicate")
        for path in ("/v1/predictions?cursor=x", "/v1/predictions?cursor=1", "/v1/files?cursor=-1-1")
    ),
    *(
        Case(method="GET", path=f"{path}?cursor={cursor}", status=422, names="cursor", dialect="replicate")
        for path in ("/v1/predictions", "/v1/files")
        for cursor in ("999999999999999-0", "%D9%A3-0", "1-9999999999")
    ),
    Case(method="GET", path="/v1/files/unknown", status=404, names="file", dialect="replicate"),
    Case(method="GET", path="/v1/models/a/b", status=404, names="model", dialect="replicate"),
    Case(
        method="GET",
        path=f"/v1/models/{MODEL}/versions/0",
        status=422,
        names="version",
        dialect="replicate",
    ),
    *(
        Case(
            method=method,
            path=path,
            status=401,
            names="Authorization: Bearer",
            key=key,
            dialect="replicate",
        )
        for method, path in (("POST", OF_MODEL), ("GET", "/v1/predictions"), ("POST", "/v1/files"))
        for key in (None, "wrong")
    ),
]  # fmt: skip
FILES = [
    Case(
        path="/v1/files", headers=headers, body=body, status=status, names=names, dialect="replicate"
    )
    for headers, body, status, names in (
        (JSON, b"{}", 422, "multipart/form-data"),
        ({"Content-Type": "multipart/form-data"}, b"x", 422, "multipart/form-data"),
        (FORM, b"x", 422, "multipart/form-data"),
        *((FORM, form(("content", PNG, "a.png"))[:-n], 400, CUT_OFF) for n in (3, 9, 30)),
        (FORM, form(("content", PNG)), 422, "content"),
        (FORM, form(), 422, "content"),
        (FORM, form(("content", b"text")), 422, "content"),
        (FORM, form(("file", PNG, "a.png")), 422, "content"),
        (FORM, form(("content", b"", "a.png")), 422, "content"),
        (FORM, form(("content", b"GIF89a" + bytes(99), "a.png")), 422, "content"),
        (FORM, form(("content", PNG, "a"), ("metadata", b"[]")), 422, "metadata"),
        (FORM, form(("content", PNG, "a"), ("metadata", b"{")), 422, "metadata"),
        (FORM, form(("content", PNG, "a"), ("metadata", b"[]", "blob")), 422, "metadata"),
        (FORM, form(("content", PNG, "a"), ("metadata", b"a" * 70_000, "blob")), 422, "metadata"),
        (FORM, form(*[("a", b"b")] * 60), 422, "multipart/form-data"),
        (FORM, form(*[("a", b"b", "c")] * 20), 422, "multipart/form-data"),
        (FORM, form(("a", b"b" * 70_000)), 422, "multipart/form-data"),
    )
]  # fmt: skip
