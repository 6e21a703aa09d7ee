"""Bad requests of OpenAI's images API."""

from typing import Any

from tests.corpus.case import CUT_OFF, FORM, Case, form, written
from tests.corpus.pictures import PNG, image_file

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
VALUES: dict[str, list[Any]] = {
    "prompt": [None, "", " ", 5, [], "a" * 10_001],
    "model": [5, []],
    "n": [0, 5, -1, "many", 1.5, True, []],
    "size": ["large", "65x64", "64", "64x", "x64", "64X64", "99999x99999", "4096x4096", "-64x64", 64, "\uff16\uff14x64"],
    "background": ["transparent", "", 1],
    "output_format": ["gif", "", 1],
    "output_compression": [-1, 101, "high"],
    "response_format": ["base64", 1],
    "stream": [True, "true", 1],
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
        for body in (b"", b"{", b"[]", b"null", b'{"n": NaN}', b"\xff", b"[" * 100_000)
    ),
    case(body=b"{}", names="prompt"),
    *(
        case(body=written({"prompt": "a", "model": m}), status=404, names="model")
        for m in ("dall-e-3", "", "gpt-image-1", "flux-2-klein-4b-base", "../flux-2-klein-4b")
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
        (form(IMAGE, PROMPT, ("n", b"9")), "n"),
        (form(IMAGE, PROMPT, ("n", b"\xff")), "n"),
        (form(IMAGE, PROMPT, ("size", b"huge")), "size"),
        (form(IMAGE, PROMPT, ("stream", b"true")), "stream"),
    )
]
TYPES = [
    *(
        case(path=EDITS, headers={"Content-Type": kind}, body=b"x", names="multipart/form-data")
        for kind in ("", "text/plain", "application/json", "multipart/form-data", "multipart/form-data; boundary=")
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
