"""Tests that the API accepts any request or refuses it with an error that names the problem."""

import json
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import strategies as st

from app.main import create_app
from app.predictions.errors import AlreadyFinal, UnknownPrediction
from app.predictions.redis_keys import OPEN
from app.settings import Settings
from tests.corpus.answers import parse_error
from tests.corpus.case import form
from tests.corpus.images import PNG, image_file, uri
from tests.fuzz.mutation import mutated
from tests.support.fakes import a_store

KEY = "a key"
TEXT, EDIT = "flux-2-klein-4b-text-to-image", "flux-2-klein-4b-edit"
OF_MODEL = "/v1/models/black-forest-labs/flux-2-klein-4b/predictions"
REFUSALS = {400, 401, 404, 405, 409, 413, 422}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
# Only addresses, because these tests look up no host names.
HOSTS = st.sampled_from(["127.0.0.1", "[::1]", "0x7f.1", "10.0.0.1", "169.254.169.254", "[::ffff:7f00:1]", "1.1.1.1:0"])  # fmt: skip
URLS = st.builds(
    "{}://{}{}".format,
    st.sampled_from(["http", "https", "HTTP", "ftp", "file", "data", ""]),
    HOSTS | st.text("@:[]/\\.%#? \t\n\0e1", max_size=12),
    st.text(max_size=12),
)
IMAGES = (
    URLS
    | st.sampled_from([uri(PNG), uri(PNG)[:-20], uri(image_file(16, 16)), "data:,", ""])
    | st.text("data:imgepn/;bs64,AA==", max_size=40)
)
NUMBERS = st.integers(-2, 70) | st.sampled_from([64, 512, 1024, 2**31, 2**63, 1e300, 0.5])
VALUES = {
    "prompt": st.just("a circle") | st.text(max_size=9) | ANYTHING,
    "negative_prompt": ANYTHING,
    "guidance_scale": NUMBERS | ANYTHING,
    "guidance": NUMBERS | ANYTHING,
    "num_inference_steps": NUMBERS | ANYTHING,
    "num_images": NUMBERS | ANYTHING,
    "n": NUMBERS | st.text("0123456789-²٣", max_size=5) | ANYTHING,
    "image_size": st.fixed_dictionaries({"width": NUMBERS | ANYTHING, "height": NUMBERS}) | ANYTHING,
    "size": st.from_regex(r"-?[0-9]{0,6}x[0-9]{0,6}\n?") | ANYTHING,
    "aspect_ratio": st.sampled_from(["1:1", "21:9", "match_input_image"]) | ANYTHING,
    "output_megapixels": st.sampled_from(["0.25", "4"]) | ANYTHING,
    "acceleration": st.sampled_from(["none", "high"]) | ANYTHING,
    "seed": st.integers(-(2**65), 2**65) | ANYTHING,
    "output_format": st.sampled_from(["png", "jpeg", "jpg", "webp"]) | ANYTHING,
    "output_quality": NUMBERS | ANYTHING,
    "output_compression": NUMBERS | ANYTHING,
    "response_format": st.sampled_from(["url", "b64_json"]) | ANYTHING,
    "background": ANYTHING,
    "stream": ANYTHING,
    "mask": IMAGES | ANYTHING,
    "mask_url": IMAGES | ANYTHING,
    "strength": NUMBERS | ANYTHING,
    "prompt_strength": NUMBERS | ANYTHING,
    "sync_mode": ANYTHING,
    "previews": ANYTHING,
    "go_fast": ANYTHING,
    "enable_safety_checker": ANYTHING,
    "disable_safety_checker": ANYTHING,
    "loras": st.lists(st.fixed_dictionaries({"path": st.just("a.safetensors") | ANYTHING}, optional={"scale": NUMBERS | ANYTHING}), max_size=4) | ANYTHING,
    "image_urls": st.lists(IMAGES, max_size=5) | ANYTHING,
    "images": st.lists(IMAGES, max_size=5) | ANYTHING,
}  # fmt: skip
FIELDS = {*VALUES, "model", "input", "version", "webhook", "webhook_url", "webhook_secret", "webhook_events_filter", "image", "content", "metadata"}  # fmt: skip
INPUT = st.fixed_dictionaries({}, optional=VALUES)
HOOKED = {
    "webhook_url": URLS | ANYTHING,
    "webhook_secret": st.text(max_size=9) | ANYTHING,
    "webhook": URLS | ANYTHING,
    "webhook_events_filter": st.lists(st.sampled_from(["start", "completed", "x"])) | ANYTHING,
    "version": ANYTHING,
}
BODY = st.fixed_dictionaries(
    {"model": st.sampled_from([TEXT, EDIT]) | ANYTHING, "input": INPUT | ANYTHING}, optional=HOOKED
)
GOOD = [
    json.dumps({"model": EDIT, "input": {"prompt": "a", "image_urls": [uri(PNG)], "loras": [{"path": "a.safetensors"}]}, "webhook_url": "https://127.0.0.1/"}).encode(),
    json.dumps({"model": EDIT, "input": {"prompt": "a", "image_urls": [uri(PNG)], "mask_url": uri(PNG), "strength": 0.5}}).encode(),
    json.dumps({"input": {"prompt": "a", "images": [uri(PNG)], "seed": 7, "aspect_ratio": "16:9"}}).encode(),
    json.dumps({"prompt": "a", "n": 2, "size": "64x64", "output_format": "png"}).encode(),
    b'{"model": "m", "input": {"seed": 1e400, "prompt": "\\ud800\\u0000"}}',
]  # fmt: skip
PARTS = (("image", PNG, "a.png"), ("prompt", b"a"), ("n", b"1"), ("size", b"64x64"))
FORMS = [form(*PARTS), form(("content", PNG, "a.png"), ("metadata", b'{"a": 1}')), form()]
CHARSETS = [
    f"multipart/form-data; boundary=b; charset={name}"
    for name in ("utf-16", "idna", "punycode", "undefined", "zlib", "unicode_escape", "x" * 99)
]
WAYS = [
    ("/v1/prediction", "eachlabs", {200}),
    ("/v1/prediction/run", "eachlabs", {200}),
    (OF_MODEL, "replicate", {200, 201, 202}),
    ("/v1/predictions", "replicate", {200, 201, 202}),
    ("/v1/images/generations", "openai", {200}),
    ("/v1/upload/presign", "eachlabs", {200}),
]


@pytest.fixture(scope="module")
def client(redis_server):
    """Start the API, and cancel every accepted prediction so that no request waits."""
    stopping = threading.Event()

    def cancel():
        with redis_server.connect() as mine:
            store = a_store(mine)
            while not stopping.wait(0.002):
                for prediction_id in mine.zrange(OPEN, 0, -1):
                    with suppress(AlreadyFinal, UnknownPrediction):
                        store.change(prediction_id.decode(), lambda p, now: p.cancel(now))

    with tempfile.TemporaryDirectory() as folder, redis_server.connect() as redis:
        redis.flushall()
        settings = Settings(
            redis_url=redis_server.url, data=Path(folder), api_keys=(KEY,), _env_file=None
        )
        canceller = threading.Thread(target=cancel)
        canceller.start()
        try:
            with TestClient(create_app(settings), raise_server_exceptions=False) as client:
                yield client
        finally:
            stopping.set()
            canceller.join()
            redis.flushall()


def ask(client, way, dialect, accepted, *, body=b"", **headers):
    """Send a request, and return an accepted response or the details of the refusal."""
    sent = {"X-API-Key": KEY, "Content-Type": "application/json", **headers}
    method, path = way.split(" ", 1)
    response = client.request(method, path, content=body, headers=sent)
    if response.status_code in accepted:
        return response
    assert response.status_code in REFUSALS, response.text
    status, fields, text = parse_error(dialect, response.json())
    assert status in {response.status_code, None}
    assert len(text) >= len("Field required")
    assert "Traceback" not in text
    return response.status_code, fields, text


def judge(refusal):
    """Fail if the refusal of an input names no field or an unknown one."""
    if isinstance(refusal, tuple) and refusal[0] in {400, 422} and "JSON object" not in refusal[2]:
        _, fields, text = refusal
        known = FIELDS | {"content_type", "file_type", "expires_in_seconds"}
        assert text == "the prediction was cancelled" or fields, text
        assert {field.partition("[")[0] for field in fields} <= known


def written(body):
    with_surrogates = json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")
    return st.sampled_from([json.dumps(body).encode(), with_surrogates])


@pytest.mark.parametrize(("path", "dialect", "accepted"), WAYS, ids=[way[0] for way in WAYS])
@given(body=BODY.flatmap(written) | INPUT.flatmap(written) | mutated(GOOD) | st.binary(max_size=40))
@example(body=b'{"prompt": "a", "stream": []}')
def test_any_body_is_accepted_or_refused_by_name(client, path, dialect, accepted, body):
    """Any body is accepted, or refused with an error of the dialect that names a field."""
    judge(ask(client, f"POST {path}", dialect, accepted, body=body))


@given(
    idempotency_key=st.binary(max_size=20).map(lambda b: b.translate(None, b"\r\n\0")) | st.binary(min_size=250),
    queue=st.floats().map(repr) | st.text("0123456789.e-_+", max_size=9),
    prefer=st.binary(max_size=20),
)  # fmt: skip
def test_any_header_is_accepted_or_refused_by_name(client, idempotency_key, queue, prefer):
    """An idempotency key, a queue timeout and a Prefer header of any bytes are accepted, or refused by name."""
    body = json.dumps({"model": TEXT, "input": {"prompt": "a"}}).encode()
    headers = {"Idempotency-Key": idempotency_key, "X-Queue-Timeout": queue, "Prefer": prefer}
    refusal = ask(client, "POST /v1/prediction", "eachlabs", {200}, body=body, **headers)

    if isinstance(refusal, tuple):
        assert refusal[1] in (["Idempotency-Key"], ["X-Queue-Timeout"])


@given(
    body=mutated(FORMS) | st.binary(max_size=60),
    kind=st.sampled_from(["multipart/form-data; boundary=b", *CHARSETS])
    | st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20).map(
        lambda rest: f"multipart/form-data;{rest}"
    ),
    path=st.sampled_from(["/v1/images/edits", "/v1/files"]),
)
@example(body=FORMS[0][:120], kind=CHARSETS[0].partition("; charset")[0], path="/v1/images/edits")
@example(body=form(("prompt", b"\xff")), kind=CHARSETS[3], path="/v1/images/edits")
def test_any_form_is_accepted_or_refused_by_name(client, body, kind, path):
    """A damaged form is accepted, or refused as not a form or with the name of the wrong field."""
    dialect = "openai" if "images" in path else "replicate"
    headers = {"Content-Type": kind.encode("latin-1")}
    refusal = ask(client, f"POST {path}", dialect, {200, 201}, body=body, **headers)

    if isinstance(refusal, tuple) and "multipart/form-data" not in refusal[2]:
        judge(refusal)


@example(data=image_file(kind="JPEG"))
@given(data=mutated([PNG, image_file(kind="JPEG"), image_file(kind="WEBP")]))
def test_any_file_is_stored_or_refused(client, data):
    """A file that is sent to a presigned URL is stored unchanged, or refused for its type."""
    presigned = ask(client, "POST /v1/upload/presign", "eachlabs", {200}, body=b'{"content_type": "image/png"}')  # fmt: skip
    slot = presigned.json()
    refusal = ask(client, f"PUT {slot['presigned_url']}", "eachlabs", {200}, body=data)

    if isinstance(refusal, tuple):
        assert refusal[:2] == (400, ["content_type"])
    else:
        assert client.get(slot["public_url"]).content == data
        assert data.startswith(PNG[:8])


@given(
    path=st.sampled_from(["/v1/executions", "/v1/webhooks", "/v1/models", "/v1/prediction/x"]),
    name=st.sampled_from(["limit", "offset", "status", "from", "to", "model", "name", "wait"]),
    value=st.text(max_size=12) | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(str),
)  # fmt: skip
def test_any_parameter_is_accepted_or_refused_by_name(client, path, name, value):
    """A query parameter with any text is accepted, or a 400 error names it."""
    request_line = f"GET {path}?{name}={quote(value, errors='replace')}"
    refusal = ask(client, request_line, "eachlabs", {200})

    if isinstance(refusal, tuple) and refusal[0] == 400:
        assert refusal[1] == [name]


@given(rest=st.text(max_size=30), start=st.sampled_from(["", "v1/prediction/", "v1/files/", "files/", "v1/models/", "v1/predictions/", "page/"]))  # fmt: skip
def test_any_path_gets_response(client, rest, start):
    """Any path gets a response with the status 200 or of a refusal."""
    path = "/" + start + quote(rest, errors="replace")
    response = client.get(path, headers={"X-API-Key": KEY}, follow_redirects=False)

    assert response.status_code in {200, *REFUSALS}, response.text
