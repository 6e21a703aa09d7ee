"""The client commands as processes, against servers that behave badly."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from tests.support.fake_server import (
    ENDED,
    ID,
    PAGE,
    FakeServer,
    answer_events,
    answer_json,
    klein,
    not_found,
    serving,
)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with serving() as server:
        yield server


def test_a_path_prefix_and_a_trailing_slash(fake):
    """The URL of a server may have a path and a trailing slash."""
    fake.answers["/a/klein/v1/executions"] = answer_json(PAGE)

    assert klein("list", KLEIN_URL=f"{fake.url}/a/klein/").returncode == 0
    assert klein("list", "--url", f"{fake.url}/a/klein").returncode == 0


def test_a_server_that_is_not_klein(fake):
    """A 404, HTML and JSON of another shape each say that the server is not klein."""
    for answer in (not_found, answer_json([1]), answer_json("x")):
        fake.answers["/v1/executions"] = answer
        result = klein("list", KLEIN_URL=fake.url)

        assert result.returncode == 1
        assert f"the server at {fake.url} is not klein; check --url and KLEIN_URL" in result.stderr


def test_a_request_that_is_too_large(fake, tmp_path):
    """If the server refuses a body before it has arrived, its response is shown."""

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        data = json.dumps({"error": "too large", "details": "send at most 1 MB"}).encode()
        handler.send_response(413)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
        # the server closes the connection now, and a reset answers the rest of the body

    fake.answers["/v1/models"] = answer_json([{"slug": "x-edit"}])
    fake.answers["/v1/prediction"] = refuse
    image = tmp_path / "large.png"
    with image.open("wb") as file:
        file.truncate(15_000_000)
    output = str(tmp_path / "a.png")

    result = klein("predict", "x", "--image", str(image), "-o", output, KLEIN_URL=fake.url)

    assert (result.returncode, result.stderr) == (1, "Error: too large: send at most 1 MB\n")


def test_a_redirect_is_not_followed(fake):
    """A redirect gets an error that names the other server, which does not receive the key."""

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(301)
        handler.send_header("Location", f"{fake.url}/other")
        handler.end_headers()

    fake.answers["/v1/executions"] = redirect
    result = klein("list", KLEIN_URL=fake.url)

    assert result.returncode == 1
    assert f"redirects to {fake.url}/other; set KLEIN_URL or --url" in result.stderr
    assert fake.requests == ["/v1/executions"]


def test_a_lost_stream_is_opened_again(fake, tmp_path):
    """If an event stream ends early, `klein wait` connects again and still gets the result."""
    image = f"{fake.url}/image.png"
    streams = iter(
        [
            answer_events(("status", {"status": "processing"})),
            answer_events(("end", ENDED | {"output": image})),
        ]
    )

    def stream(handler: BaseHTTPRequestHandler) -> None:
        next(streams)(handler)

    fake.answers[f"/v1/prediction/{ID}/events"] = stream
    fake.answers["/image.png"] = answer_json("pixels")
    file = tmp_path / "a.png"

    result = klein("wait", ID, "-o", str(file), KLEIN_URL=fake.url)

    assert result.returncode == 0, result.stderr
    assert "connection lost (the server closed the event stream); trying again" in result.stderr
    assert result.stdout == f"{file}   seed 7   1.5 s\n"
    assert file.read_text() == '"pixels"'
    assert fake.keys[-1] is None  # the image's URL is signed and may name another server


def test_a_failed_prediction_has_its_own_exit_code(fake):
    """If the prediction failed, the exit code is 3, and the message is that of the API."""
    failed = ENDED | {"status": "error", "error": "too little memory", "output": {}}
    fake.answers[f"/v1/prediction/{ID}/events"] = answer_events(("end", failed))

    result = klein("wait", ID, "--quiet", KLEIN_URL=fake.url)

    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr == f"Error: prediction {ID} failed: too little memory\n"


def test_a_cut_download_writes_no_file(fake, tmp_path):
    """If a download ends early, no file is written and the exit code says to try again."""

    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half")

    fake.answers[f"/v1/prediction/{ID}"] = answer_json(ENDED | {"output": f"{fake.url}/image.png"})
    fake.answers["/image.png"] = cut
    file = tmp_path / "a.png"

    result = klein("get", ID, "-o", str(file), KLEIN_URL=fake.url)

    assert result.returncode == 4
    assert "the connection ended in the middle of the response" in result.stderr
    assert not file.exists()


def test_a_file_of_this_machine_is_not_an_image(fake, tmp_path):
    """A server cannot make the command copy a local file."""
    fake.answers[f"/v1/prediction/{ID}"] = answer_json(ENDED | {"output": "file:///etc/hostname"})

    result = klein("get", ID, "-o", str(tmp_path / "a.png"), KLEIN_URL=fake.url)

    assert result.returncode == 4
    assert "unknown url type: file" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_overloaded_server_has_its_own_exit_code(fake):
    """A 503 with klein's error body is exit code 4, with what the server says."""

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        data = json.dumps({"error": "Service unavailable", "details": "try later"}).encode()
        handler.send_response(503)
        handler.end_headers()
        handler.wfile.write(data)

    fake.answers["/v1/executions"] = refuse
    result = klein("list", KLEIN_URL=fake.url)

    assert (result.returncode, result.stderr) == (4, "Error: Service unavailable: try later\n")


def test_proxy_variables(fake):
    """A proxy is used for other hosts, and not for loopback addresses or those in no_proxy."""
    fake.answers["/v1/executions"] = answer_json(PAGE)
    fake.answers["http://klein.invalid/v1/executions"] = answer_json(PAGE)

    through = klein("list", KLEIN_URL="http://klein.invalid", http_proxy=fake.url)
    past = klein("list", KLEIN_URL=fake.url, http_proxy="http://127.0.0.1:9")
    general = klein("list", KLEIN_URL="http://klein.invalid", all_proxy=fake.url)
    dead = klein("list", KLEIN_URL="http://klein.invalid", http_proxy="http://u:secret@127.0.0.1:9")
    exempt = klein(
        "list", KLEIN_URL="http://klein.invalid", http_proxy=fake.url, no_proxy="klein.invalid"
    )
    socks = klein("list", KLEIN_URL="http://klein.invalid", all_proxy="socks5://127.0.0.1:9")

    assert [through.returncode, past.returncode, general.returncode] == [0, 0, 0]
    assert dead.returncode == 4
    assert "(through the proxy http://127.0.0.1:9); correct the proxy variables" in dead.stderr
    assert "secret" not in dead.stderr
    assert exempt.returncode == 4
    assert "the host is unknown" in exempt.stderr
    assert "socks5://127.0.0.1:9 is not an HTTP proxy" in socks.stderr


def test_a_refused_field_names_its_option(fake):
    """What the server says about a field begins with the option that sets it."""

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        problems = [
            {"field": "num_inference_steps", "message": "too many"},
            {"field": "image_urls[1]", "message": "no image"},
            {"field": "seed", "message": "too large"},
            {"field": "acceleration", "message": "unknown"},
        ]
        handler.send_response(400)
        handler.end_headers()
        handler.wfile.write(json.dumps({"error": "Invalid input", "details": problems}).encode())

    fake.answers["/v1/prediction"] = refuse
    result = klein("predict", "x", "--model", "m", KLEIN_URL=fake.url)

    assert result.returncode == 1
    assert result.stderr == (
        "Error: Invalid input: --steps (num_inference_steps): too many; --image (image_urls[1]): no image; "
        "--seed: too large; acceleration: unknown\n"
    )


def test_the_queue_of_a_server(fake):
    """`klein queue` with a key shows the status of the server, in lines or as JSON."""
    status = {
        "running": 1,
        "webhooks": 2,
        "queues": [
            {"checkpoint": "distilled", "waiting": 3, "oldest_s": 4.2},
            {"checkpoint": "base", "waiting": 0, "oldest_s": 0},
        ],
        "workers": [{"name": "w", "checkpoint": "base", "weights": "B"}],
    }
    fake.answers["/v1/status"] = answer_json(status)

    result = klein("queue", KLEIN_URL=fake.url)

    assert result.stdout.splitlines() == [
        "waiting   3   distilled   oldest 4 s",
        "waiting   0   base",
        "running   1",
        "webhooks  2   to deliver",
        "workers   1",
        "  w   base   B",
    ]
    assert json.loads(klein("queue", "--json", KLEIN_URL=fake.url).stdout) == status


def test_the_queue_without_any_server(tmp_path):
    """Without a server and without Redis one line says so."""
    for key in ("", "k"):
        result = klein(
            "queue", KLEIN_DATA=str(tmp_path), KLEIN_PORT="9", KLEIN_URL="", KLEIN_API_KEY=key
        )

        assert result.returncode == 4
        assert result.stderr.count("\n") == 1
