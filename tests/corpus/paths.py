"""Things that do not exist: ids, slugs, pages, paths, methods, parameters out of range, and keys that open nothing."""

from tests.corpus.case import Case

_UNKNOWN = ("unknown", "%00%ff", "a" * 2000, "%F0%9F%92%A9", "1%0d%0aX:1")
IDS = [
    *(Case(method="GET", path=f"/v1/prediction/{i}", status=404, names="the id") for i in _UNKNOWN),
    Case(path="/v1/prediction/unknown/cancel", status=404, names="the id"),
    Case(path="/v1/prediction/unknown/cancel/", status=404, names="the id"),
    Case(method="GET", path="/v1/prediction/unknown/events", status=404, names="the id"),
    Case(method="GET", path="/v1/webhooks/unknown", status=404, names="webhook"),
    Case(path="/v1/webhooks/unknown/redeliver", status=404, names="webhook"),
    *(
        Case(method="DELETE", path=f"/v1/files/{i}", status=400, names="id")
        for i in ("x", "1", "%00", "1" * 40)
    ),
    Case(method="GET", path="/v1/model", status=400, names="slug"),
    Case(method="GET", path="/v1/model?slug=", status=400, names="slug"),
    *(
        Case(method="GET", path=path, status=404, names="GET /v1/models")
        for path in (
            "/v1/model?slug=x",
            "/v1/model?slug=flux-2-klein-4b-base-edit",
            "/v1/models/x",
            "/v1/models/x/schemas/openapi",
            "/v1/models/%00",
        )
    ),
]
PARAMETERS = [
    Case(method="GET", path=f"{path}?{name}={value}", status=400, names=name)
    for path, name, values in (
        ("/v1/prediction/unknown", "wait", ("-1", "60.1", "x", "nan", "inf", "", "1e99", "1;2")),
        ("/v1/models", "limit", ("0", "501", "x", "1.5", "", "9" * 5000)),
        ("/v1/models", "offset", ("-1", "x", "9" * 30)),
        ("/v1/executions", "limit", ("0", "101", "x", "-1", "9" * 30)),
        ("/v1/executions", "offset", ("-1", "x", "9" * 30)),
        (
            "/v1/executions",
            "status",
            ("done", "succeeded", "success,Error", "success;error", "%00"),
        ),
        ("/v1/executions", "from", ("yesterday", "2026-13-01T00:00:00Z", "%ff")),
        ("/v1/executions", "to", ("tomorrow", "2026-01-32", "nan")),
        ("/v1/executions", "error_classification", ("nothing", "unknown,Provider_error")),
        ("/v2/executions", "limit", ("0",)),
        ("/v1/webhooks", "limit", ("0", "101", "x")),
        ("/v1/webhooks", "offset", ("-1", "x")),
    )
    for value in values
]
ROUTES = [
    Case(method="GET", path="/page/nothing.js", status=404, names="file"),
    *(
        Case(method="GET", path=path, status=404, names="path")
        for path in (
            "/nowhere", "/v1", "/v1/prediction/..%2f..%2fetc%2fpasswd", "/v3/prediction", "/.env", "/..%2f..%2fetc/passwd",
            "/wp-admin", "/%00", "/page/../app/main.py",
        )
    ),
    *(
        Case(method=method, path=path, status=405, names=allowed)
        for method, path, allowed in (
            ("PUT", "/v1/prediction", "POST"),
            ("GET", "/v1/prediction", "POST"),
            ("GET", "/v1/prediction/", "POST"),
            ("PUT", "/v1/prediction/x", "GET"),
            ("DELETE", "/v1/models", "GET"),
            ("POST", "/v1/executions", "GET"),
            ("PATCH", "/v1/upload/presign", "POST"),
            ("PROPFIND", "/v1/models", "GET"),
        )
    ),
]  # fmt: skip
FILES = [
    Case(method="GET", path=f"/files/{path}", status=404, names="URL")
    for path in (
        "nothing.png", "x/0.png?expires=9&signature=0", "..%2f..%2fetc%2fpasswd?expires=9&signature=0",
        "%2fetc%2fpasswd", "x.png?expires=99999999999&signature=" + "0" * 64,
        "x.png?expires=%C2%B2&signature=%F0%9F%92%A9", "x.png?expires=" + "9" * 5000, "url_secret",
    )
]  # fmt: skip
KEYS = [
    Case(method=method, path=path, status=401, names="X-API-Key", key=key)
    for method, path in (
        ("POST", "/v1/prediction"),
        ("POST", "/v1/prediction/run"),
        ("GET", "/v1/prediction/x"),
        ("GET", "/v1/executions"),
        ("GET", "/v1/webhooks"),
        ("POST", "/v1/upload/presign"),
        ("DELETE", "/v1/files/6a0ea6a1-58b8-4b8d-9b2e-7d4a7f3f2b11"),
        ("GET", "/v1/status"),
    )
    for key in (None, "", "wrong", "klein_0_0", "a" * 9000)
] + [
    Case(method="GET", path="/v1/executions", status=401, names="X-API-Key", key=None, headers=headers)
    for headers in (
        {"Authorization": "the corpus's key"},
        {"Authorization": "Basic dXNlcjp3b3Jk"},
        {"Authorization": "Bearer"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"X-API-Key": b"\xc3\xa9"},
        {"X-API-Key": "klein_*_x"},
        {"Cookie": "key=the corpus's key"},
    )
]  # fmt: skip
