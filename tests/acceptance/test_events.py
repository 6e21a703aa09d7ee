"""Event streams: every state of a prediction when it is reached, and nothing for other keys."""

import io
import shutil
from pathlib import Path

import fastapi.routing
import httpx
import pytest
from PIL import Image

from app.api.state import state_of
from tests.support import processes
from tests.support.api_client import Event, create, events, fetch, get, until
from tests.support.klein_server import Klein, served
from tests.support.redis_server import RedisServer


def test_stream_follows_prediction_to_end(client: httpx.Client, busy: str) -> None:
    """The stream has both states, every step in order, and finally the body of GET, once each."""
    waiting = create(client, num_inference_steps=50, image_size="square")
    received = []
    for event in events(client, waiting):
        received.append(event)
        if event.data == {"id": waiting, "status": "created"}:
            client.post(f"/v1/prediction/{busy}/cancel")

    statuses = [event.data["status"] for event in received if event.name == "status"]
    steps = [event.data["step"] for event in received if event.name == "progress"]
    assert statuses == ["created", "processing"]
    assert steps == sorted(set(steps))
    assert set(steps) <= set(range(1, 50))
    assert steps
    assert {event.data["steps"] for event in received if event.name == "progress"} == {50}
    assert [event.name for event in received].count("end") == 1
    assert (received[-1].name, received[-1].data) == ("end", get(client, waiting))


def test_previews_are_sent_on_request(client: httpx.Client) -> None:
    """A prediction that asks for previews sends small images between its steps. Others send none."""
    with_previews = create(client, num_inference_steps=50, image_size="square", previews=True)
    previews = [event.data for event in events(client, with_previews) if event.name == "preview"]
    other = create(client, num_inference_steps=50, image_size="square")
    names = {event.name for event in events(client, other)}

    assert previews
    assert all(1 <= preview["step"] < 50 for preview in previews)
    image = Image.open(io.BytesIO(fetch(previews[-1]["image"])))
    assert (image.format, max(image.size) <= 256) == ("WEBP", True)
    assert "preview" not in names


def test_stream_of_final_prediction_sends_end(client: httpx.Client) -> None:
    """A stream that is opened after the end has only the end."""
    ended = create(client)
    prediction = get(client, ended, wait=30)

    timeline, end = list(events(client, ended))
    assert timeline.name == "timeline"
    assert end == Event("end", "end", prediction)


def test_timeline_has_every_stage(client: httpx.Client, other_client: httpx.Client) -> None:
    """The stages of a success add up to its whole time, the same in the events and at the route of its key."""
    ended = create(client)
    get(client, ended, wait=30)
    path = f"/v1/prediction/{ended}/timeline"
    timeline = client.get(path).json()

    milliseconds = {stage["stage"]: stage["ms"] for stage in timeline["stages"]}
    assert list(milliseconds) == (
        ["queued", "claimed", "encoded", "denoised", "decoded", "written", "stored", "told"]
    )
    assert milliseconds["denoised"] > 0
    assert abs(sum(milliseconds.values()) - timeline["total_ms"]) <= len(milliseconds)  # rounded
    assert next(iter(events(client, ended))).data == timeline
    assert other_client.get(path).status_code == 404


def test_reconnect_gets_current_state(client: httpx.Client, busy: str) -> None:
    """A new stream begins with the current state and progress. The event named by Last-Event-ID is not repeated."""
    first = events(client, busy)
    progress = next(event for event in first if event.name == "progress")
    first.close()

    begun = [event for event, _ in zip(events(client, busy), range(2), strict=False)]
    client.post(f"/v1/prediction/{busy}/cancel")
    again = list(events(client, busy, **{"Last-Event-ID": "end"}))

    assert [event.name for event in begun] == ["status", "progress"]
    assert begun[1].data["step"] >= progress.data["step"]
    assert again == []


def test_cancel_ends_stream(client: httpx.Client, busy: str) -> None:
    """A follower gets a cancel, and nothing after it."""
    for event in events(client, busy):
        if event.name == "status":
            client.post(f"/v1/prediction/{busy}/cancel")

    assert (event.name, event.data["status"]) == ("end", "cancelled")


def test_stream_of_another_key_is_404(
    client: httpx.Client, other_client: httpx.Client, busy: str
) -> None:
    """The stream of another key's prediction is a 404 like an unknown one, and without a key it is a 401."""
    path = f"/v1/prediction/{busy}/events"

    theirs = other_client.get(path)
    unknown_response = client.get("/v1/prediction/nobody/events")
    keyless = client.get(path, headers={"X-API-Key": ""})

    assert (theirs.status_code, theirs.json()) == (
        unknown_response.status_code,
        unknown_response.json(),
    )
    assert theirs.json()["error"] == "Prediction not found"
    assert keyless.status_code == 401


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_example_follows_stream(klein: Klein, client: httpx.Client) -> None:
    """The README's curl command prints the events and returns at the end."""
    prediction_id = create(client)
    url = f"{klein.url}/v1/prediction/{prediction_id}/events"
    command = ["curl", "-sN", "--max-time", "50", url, "-H", f"X-API-Key: {klein.key}"]

    printed = processes.run(command, check=True).stdout

    assert printed.count("event: end\n") == 1
    assert '"status": "success"' in printed


@pytest.mark.usefixtures("connection")  # an empty Redis
def test_idle_stream_gets_comments_and_disconnect_frees_slot(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments keep an idle stream open. A client that disconnects frees its place."""
    monkeypatch.setattr(fastapi.routing, "_PING_INTERVAL", 0.05)  # FastAPI has no setting for it
    with served(redis_server.url, tmp_path) as (app, client):
        service = state_of(app).service
        path = f"/v1/prediction/{create(client)}/events"
        with client.stream("GET", path) as answer:
            lines = answer.iter_lines()
            assert [line for line, _ in zip(lines, range(20), strict=False)].count(": ping") > 1
            assert service.waiter_count == 1

        until(lambda: service.waiter_count == 0)
