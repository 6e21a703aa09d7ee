"""Bad requests of OpenAI's images API."""

from typing import Any

from tests.corpus.case import CUT_OFF, FORM, JSON, Case, form, written
from tests.corpus.images import PNG, image_file, uri

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
VALUES: dict[str, list[Any]] = {
    "prompt": [None, "", " ", 5, [], "a" * 32_001],
    "model": [5, []],
    "n": [0, 11, -1, "many", 1.5, True, []],
    "size": ["large", "64", "64x", "x64", "0x64", "-64x64", "64x64x64", 64, "\uff16\uff14x64"],
    "width": [0, 9000, "wide"],
    "background": ["blue", 1],
    "output_format": ["gif", "svg", 1],
    "output_compression": [-1, 101, "high"],
    "response_format": ["base32", 1],
    "stream": ["yes", 1],
    "partial_images": [-1, 4, "x"],
        "mask": ["data:image/png;base64,AAAA"],
    "seed": ["x", 0.5, 2**63],
    "num_inference_steps": [0, 51, "x"],
}  # fmt: skip


def case(**values: Any) -> Case:
    """Send a request for images."""
    defaults: dict[str, Any] = {"path": GENERATIONS, "status": 400, "dialect": "openai"}
    return Case(**defaults | values)


FIELDS = [
    case(body=written({"prompt": "a red circle"} | {field: value}), names=field)
    for field, values in VALUES.items()
    for value in values
]
BODIES = [
    *(
        case(body=body, names="JSON object")
        for body in (b"", b"{", b"[]", b"null", b'{"n": NaN}', b"\xff", b"[" * 4000)
    ),
    case(body=b"{}", names="prompt"),
    *(
        case(body=written({"prompt": "a", "model": m}), status=404, names="model")
        for m in ("gpt-4o", "stabilityai/sdxl", "flux-2-klein-4b-base", "FLUX.2-klein-base-4B", "*")
    ),
    *(
        case(path=path, key=key, status=401, names="Authorization: Bearer")
        for path in (GENERATIONS, EDITS)
        for key in (None, "wrong")
    ),
]
IMAGE, PROMPT = ("image", PNG, "a.png"), ("prompt", b"make it red")
FORMS = [
    case(path=EDITS, headers=FORM, body=body, names=names)
    for body, names in (
        (b"", CUT_OFF),
        (b"x", "multipart/form-data"),
        (b"--b--", "image"),
        *((form(IMAGE, PROMPT)[:-n], CUT_OFF) for n in (3, 9, 30, 120)),
        (form(PROMPT), "image"),
        (form(("image", b"text"), PROMPT), "image"),
        (form(IMAGE), "prompt"),
        (form(IMAGE, ("prompt", b"")), "prompt"),
        (form(IMAGE, ("prompt", b"x", "prompt.txt")), "prompt"),
        (form(*[IMAGE] * 5, PROMPT), "image"),
        (form(*[IMAGE] * 18, PROMPT), "multipart/form-data"),
        (form(("image", b"nonsense", "a.png"), PROMPT), "image"),
        (form(("image", b"", "a.png"), PROMPT), "image"),
        (form(("image", PNG[:-30], "a.png"), PROMPT), "image"),
        (form(("image", image_file(kind="GIF"), "a.png"), PROMPT), "image"),
        (form(("image", image_file(16, 16), "a.png"), PROMPT), "image"),
        (form(IMAGE, PROMPT, ("mask", PNG, "mask.png")), "mask"),
        (form(IMAGE, PROMPT, ("markup", PNG, "markup.png")), "markup"),
        (form(IMAGE, PROMPT, ("n", b"11")), "n"),
        (form(IMAGE, PROMPT, ("n", b"\xff")), "n"),
        (form(IMAGE, PROMPT, ("size", b"huge")), "size"),
        (form(IMAGE, PROMPT, ("stream", b"yes")), "stream"),
        (form(("images[0]", b"text"), PROMPT), "image"),
    )
]
JSON_EDITS = [
    case(path=EDITS, headers=JSON, body=written({"prompt": "x"} | sent), status=status, names=names)
    for sent, status, names in (
        ({}, 400, "image"),
        ({"image": 5}, 400, "image"),
        ({"images": [{"file_id": "unknown"}]}, 404, "upload"),
        ({"images": [{"image_url": "file:///etc/passwd"}]}, 400, "image"),
        ({"image": "data:image/png;base64,AAAA"}, 400, "image"),
        ({"image": uri(PNG), "mask": {"image_url": uri(PNG)}}, 400, "mask"),
        ({"images": [uri(PNG)] * 5}, 400, "image"),
    )
] + [case(path=EDITS, headers=JSON, body=b, names="JSON object") for b in (b"x", b"[]")]
VARIATIONS = [
    case(path="/openai/v1/images/variations", headers=FORM, body=form(*images), names="image")
    for images in ([], [("image", PNG, "a.png")] * 2, [("image", b"x", "a.png")])
]
CLIENT = {"User-Agent": "OpenAI/Python 3.57.0"}
UPLOADS = [
    case(path=path, headers={**FORM, **CLIENT}, body=form(*parts), names=names)
    for path in ("/openai/v1/files", "/v1/files")
    for parts, names in (
        ([("purpose", b"vision")], "file"),
        ([("file", PNG, "a.png")], "purpose"),
        ([("file", b"text", "a.txt"), ("purpose", b"vision")], "file"),
    )
]
PATHS = [
    case(method="GET", path="/openai/v1/chat/completions", status=404, names="path"),
    case(method="GET", path="/openai/v1/images/generations", status=405, names="POST"),
    case(method="GET", path="/openai/v1/models/gpt-4o", status=404, names="model"),
    case(path="/openai/deployments/x/images/generations", status=404, body=written({"prompt": "x"}), names="model"),
    *(case(method="GET", path=f"/openai/v1/files/x{end}", status=404, names="upload") for end in ("", "/content")),
    *(case(path=path, key=None, status=401, names="Bearer") for path in ("/openai/v1/images/edits", "/openai/v1/files")),
    *(case(method="GET", path=f"/v1/files{end}", headers=CLIENT, key=None, status=401, names="Bearer") for end in ("", "/x")),
]  # fmt: skip
TYPES = [
    *(
        case(path=EDITS, headers={"Content-Type": kind}, body=b"x", names="multipart/form-data")
        for kind in ("", "text/plain", "multipart/form-data", "multipart/form-data; boundary=")
    ),
    *(
        case(
            path=EDITS,
            headers={"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"},
            body=form(IMAGE, ("prompt", b"\xff")),
            names="multipart/form-data",
        )
        for charset in ("undefined", "punycode")
    ),
]  # fmt: skip
