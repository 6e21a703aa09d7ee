"""Bad creates of the hosted API: bodies, fields of the input, LoRAs, webhooks and headers."""

from typing import Any

from tests.corpus.case import JSON, Case, written

TEXT, EDIT = "flux-2-klein-4b-text-to-image", "flux-2-klein-4b-edit"

NO_MODELS: list[Any] = [
    {},
    {"input": {}},
    {"model": "", "input": {}},
    {"model": None, "input": {}},
    {"Model": TEXT, "input": {}},
    {"model": 5, "input": {}},
    {"model": [TEXT], "input": {}},
    {"model": {"slug": TEXT}, "input": {}},
    {"model": True, "input": {}},
]
NO_INPUTS: list[dict[str, Any]] = [
    {},
    {"input": None},
    {"input": []},
    {"input": "a house"},
    {"input": 5},
    {"inputs": {"prompt": "a house"}},
]
BODIES = [
    *(
        Case(body=body, status=422, names="JSON object")
        for body in (
            b"",
            b" ",
            b"{",
            b"}",
            b"nonsense",
            b"[]",
            b'"text"',
            b"null",
            b"true",
            b"5",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
            b"\0",
            b"{'model': 'm'}",
            b'{"model": "m",}',
            b'{"model": "m" "input": {}}',
            b'{"model": "m", "input": {}} {}',
            b'{"model": NaN}',
            b'{"model": "m", "input": {"seed": Infinity}}',
            b'{"model": "m", "input": {"seed": -Infinity}}',
            b'{"model": "m", "input": {"prompt": "\\ud800"}}',
            b'{"model": "m", "input": {"prompt": "\\u12"}}',
            b'{"model": "m", "input": {"prompt": "\\x41"}}',
            b'{"model": "m", "input": {"prompt": "a\nb"}}',
            b'{"model": "\xff"}',
            b'{"model": "m", "input": {"seed": 01}}',
            b'{"model": "m", "input": ' + b'{"a":' * 1000 + b"1" + b"}" * 1001,
            b"[" * 4000,
            b"model=m&input=x",
            b"<xml/>",
            "{}".encode("utf-16"),
        )
    ),
    Case(body=b"[" * 100_000, status=413, names="5000 values"),
    Case(body=written({"model": TEXT, "input": {"prompt": "a" * 9**7}}), status=413, names="1 MB"),
    *(Case(body=written(body), status=400, names="model") for body in NO_MODELS),
    *(Case(body=written({"model": TEXT} | rest), status=400, names="input") for rest in NO_INPUTS),
    *(
        Case(
            body=written({"model": m, "input": {"prompt": "a"}}), status=404, names="GET /v1/models"
        )
        for m in (
            "nothing",
            f"{TEXT} ",
            TEXT.upper(),
            "../" + TEXT,
            f"{TEXT}\0",
            "flux-2-klein-4b-base-text-to-image",
            "a" * 10_000,
            "%s%n",
        )
    ),
]


def of_field(field: str, value: Any, model: str = TEXT, path: str = "/v1/prediction") -> Case:
    """Send one invalid field beside valid ones."""
    good = {"prompt": "a red circle", "image_size": {"width": 64, "height": 64}}
    return Case(
        path=path,
        body=written({"model": model, "input": good | {field.partition("[")[0]: value}}),
        status=400,
        names=field,
    )


NO_LORAS = [
    "", "a", "a.bin", "a.safetensors.bin", "../a.safetensors", "/a.safetensors", "sub\\a.safetensors",
    ".safetensors", "https://x.y/a.safetensors", "user/repo", "a.safetensors\n", "a\0.safetensors",
    "a" * 400 + ".safetensors", 7, None,
]  # fmt: skip
VALUES: dict[str, list[Any]] = {
    "prompt": [None, "", "  ", "\n\t", 5, ["a"], {"text": "a"}, True, "a" * 10_001, "a" * 9**6],
    "negative_prompt": [1, [], "a" * 10_001],
    "guidance_scale": [-0.1, 20.1, 21, "5", True, [], 1e308],
    "num_inference_steps": [0, -1, 51, True, 4.5, "4", [4], 1e300],
    "num_images": [0, 5, -1, True, 1.5, "2", {}],
    "image_size": [
        "huge",
        "",
        "SQUARE",
        512,
        [1024, 1024],
        True,
        {},
        {"width": 64},
        {"height": 64},
        {"width": "64", "height": 64},
        {"width": 65, "height": 64},
        {"width": 48, "height": 64},
        {"width": 0, "height": 0},
        {"width": -64, "height": 64},
        {"width": 4096, "height": 2048},
        {"width": 1024, "height": 64},
        {"width": True, "height": 64},
        {"width": 64.5, "height": 64},
        {"width": 1e300, "height": 64},
        {"width": None, "height": 64},
    ],
    "acceleration": ["warp", "", "HIGH", 1, []],
    "seed": ["7", "", True, 0.5, 2**63, -(2**63) - 1, 10**400, 1e30, [7]],
    "output_format": ["gif", "jpg", "PNG", "", 1],
    "output_quality": [0, 101, -1, 50.5, "high"],
    "enable_safety_checker": ["yes", "true", 0, 1, []],
    "sync_mode": [1, 0, "false"],
    "previews": [1, "true"],
    "loras": ["a.safetensors", 5, {"path": "a.safetensors"}, [{"path": "a.safetensors"}] * 2],
    "loras[0]": [["a.safetensors"], [5], [None]],
    "loras[0].path": [[{}], *([{"path": path}] for path in NO_LORAS)],
    "loras[0].scale": [[{"path": "a.safetensors", "scale": s}] for s in (4.1, -5, "1", True)],
}
FIELDS = [of_field(field, value) for field, values in VALUES.items() for value in values]
RUNS = [of_field(field, values[0], path="/v1/prediction/run") for field, values in VALUES.items()]
MISSING = [
    Case(body=written({"model": TEXT, "input": {}}), status=400, names="prompt"),
    Case(body=written({"model": EDIT, "input": {"prompt": "a"}}), status=400, names="image_urls"),
]


def with_more(status: int, names: str, says: str = "", **more: Any) -> Case:
    """Send something invalid beside a valid input."""
    body = {"model": TEXT, "input": {"prompt": "a red circle"}} | more
    return Case(body=written(body), status=status, names=names, says=says)


NO_URLS: list[Any] = [
    "https://¡/",
    5,
    True,
    [],
    {},
    "x.test",
    "ftp://x.test/",
    "file:///etc/passwd",
    "//x.test/",
    "https://",
    "http:///x",
    "https://[x",
    "https://[::1",
    "https://x.test:0/",
    "https://x.test:99999/",
    "https://x.test:port/",
    "https://a:b@x.test/",
    "https://user@x.test/",
    "https://x.test/a b",
    "https://x.test/\n",
    "https://x.test/\0",
    "https://x.test\\@y.test/",
    "javascript:alert(1)",
    "https://x.test/" + "a" * 2048,
    " https://x.test/",
    "gopher://x.test/",
    "https://a%00b/",
    "https://a..b/",
    "https://xn--a/",
    "https://-x.test/",
    "https://x.test:99999/",
    "\u202ehttps://x.test",
]
NO_SECRETS: list[Any] = [5, [], "a\nb", "a\r\nX-Evil: 1", "two words", "schlüssel", "a" * 513, "\0"]
WEBHOOKS = [
    *(
        with_more(400, "webhook_url", webhook_url=url)
        for url in NO_URLS
    ),
    *(
        with_more(400, "webhook_secret", webhook_url="https://x.test/", webhook_secret=secret)
        for secret in NO_SECRETS
    ),
]  # fmt: skip


def with_header(name: str, value: str | bytes, path: str = "/v1/prediction") -> Case:
    """Send a valid body with an invalid header."""
    return Case(
        path=path,
        headers={**JSON, name: value},
        body=written({"model": TEXT, "input": {"prompt": "a red circle"}}),
        status=400,
        names=name,
    )


HEADERS = [
    *(
        with_header("Idempotency-Key", value)
        for value in ("", "x" * 256, "two words", "ä".encode(), b"tab\there", b"\xff")
    ),
    with_header("Idempotency-Key", "", "/v1/prediction/run"),
    *(
        with_header(name, value)
        for name in ("X-Queue-Timeout", "X-Run-Timeout")
        for value in ("0", "-1", "nan", "inf", "1e999", "soon", "", "99999999", "1,5", "0x10")
    ),
]
