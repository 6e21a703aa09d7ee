"""What klein adds to the hosted API for the page: search with inputs, the place in the queue, deletion."""

import httpx
import pytest

from tests.support.api_client import (
    EDIT,
    TEXT,
    create,
    data_uri,
    events,
    fetch,
    get,
    image_file,
    run,
)

NOBODYS = "/v1/prediction/00000000-0000-0000-0000-000000000000"


def searched(client: httpx.Client, **filters: str | int) -> list[str]:
    answer = client.get("/v1/history", params=filters)
    assert answer.status_code == 200, answer.text
    return [prediction["id"] for prediction in answer.json()["predictions"]]


def test_an_entry_is_the_prediction(client: httpx.Client) -> None:
    """An entry has what GET shows, with model and times."""
    edited = run(client, EDIT, image_urls=[data_uri(image_file())])["predictionID"]

    entry = client.get("/v1/history?limit=1").json()["predictions"][0]

    assert entry == get(client, edited) | {
        name: entry[name] for name in ("model", "created_at", "completed_at")
    }
    assert entry["model"] == EDIT
    assert entry["created_at"] < entry["completed_at"]
    assert fetch(entry["input"]["image_urls"][0]) == image_file()


def test_sync_mode_lists_urls(client: httpx.Client) -> None:
    """The history never contains the bytes of images."""
    run(client, sync_mode=True)

    assert client.get("/v1/history?limit=1").json()["predictions"][0]["output"].startswith("http")


def test_words_of_the_prompt_are_found(client: httpx.Client, other_client: httpx.Client) -> None:
    """Each word must be in the prompt, in any case and order, and other keys' predictions are not found."""
    fox = run(client, prompt="A quick brown FOX, straße")["predictionID"]
    run(client, prompt="a quick hare")

    assert searched(client, prompt="fox quick") == [fox]
    assert searched(client, prompt="STRASSE") == [fox]
    assert searched(client, prompt="fox hare") == []
    assert searched(other_client, prompt="fox") == []


def test_filters_and_pages(client: httpx.Client) -> None:
    """Model and status select, and the cursor continues where a page ended."""
    first, second = (run(client, prompt="page of history")["predictionID"] for _ in "ab")
    edited = run(client, EDIT, prompt="page of history", image_urls=[data_uri(image_file())])
    wanted = {"prompt": "page of history", "status": "success", "model": TEXT}

    page = client.get("/v1/history", params={**wanted, "limit": 1}).json()
    assert [p["id"] for p in page["predictions"]] == [second]
    assert searched(client, **wanted, cursor=page["cursor"]) == [first]
    assert client.get("/v1/history", params=wanted).json()["cursor"] is None
    assert searched(client, prompt="page of history", model=EDIT) == [edited["predictionID"]]
    assert searched(client, prompt="page of history", status="error,cancelled") == []


@pytest.mark.parametrize(
    ("parameter", "value"), [("cursor", "x"), ("status", "done"), ("limit", "0"), ("limit", "101")]
)
def test_a_wrong_parameter_is_named(client: httpx.Client, parameter: str, value: str) -> None:
    """A 400 names the parameter."""
    answer = client.get("/v1/history", params={parameter: value})

    assert answer.status_code == 400
    assert answer.json()["details"].startswith(f"{parameter}: ")


def test_a_waiting_prediction_has_a_place(
    client: httpx.Client, other_client: httpx.Client, busy: str
) -> None:
    """The second that waits is at position 2. One that runs has no position, and another key sees none."""
    waiting = [create(client) for _ in range(2)]
    places = [client.get(f"/v1/prediction/{i}/queue").json() for i in (busy, *waiting)]

    assert [place["position"] for place in places] == [None, 1, 2]
    told = next(event for event in events(client, waiting[1]) if event.name == "queue")
    assert told.data["position"] == 2
    assert told.data.keys() == places[2].keys() == {"position", "expected_wait_s", "expected_end_s"}
    assert other_client.get(f"/v1/prediction/{waiting[0]}/queue").status_code == 404
    for prediction_id in waiting:
        client.post(f"/v1/prediction/{prediction_id}/cancel")


def test_usage_of_key_is_counted(client: httpx.Client, other_client: httpx.Client) -> None:
    """The usage grows with each image, as JSON and as CSV. Another key sees its own alone."""

    def used(of: httpx.Client) -> int:
        return sum(row["images"] for row in of.get("/v1/usage?days=2").json()["usage"])

    before, others = used(client), used(other_client)
    run(client, num_images=2)
    lines = client.get("/v1/usage", headers={"Accept": "text/csv"}).text.splitlines()

    assert (used(client), used(other_client)) == (before + 2, others)
    assert lines[0] == "day,key,model,images,megapixels,engine_s,dollars"
    assert f",{TEXT}," in "".join(lines[1:])
    assert client.get("/v1/usage?format=csv").text.splitlines()[0] == lines[0]
    assert client.get("/v1/usage?days=0").json()["details"].startswith("days: ")


def test_a_deleted_prediction_is_gone(client: httpx.Client, other_client: httpx.Client) -> None:
    """Record, reference images and outputs are deleted at once, by the key that created them."""
    run_body = run(client, EDIT, image_urls=[data_uri(image_file())])
    path = f"/v1/prediction/{run_body['predictionID']}"
    references = client.get(path).json()["input"]["image_urls"]

    assert other_client.delete(path).status_code == 404
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == client.delete(NOBODYS).status_code == 404
    for url in (run_body["output"], *references):
        assert httpx.get(url, trust_env=False).status_code == 404
    assert run_body["predictionID"] not in searched(client, limit=100)


def test_a_running_prediction_is_cancelled_and_deleted(client: httpx.Client, busy: str) -> None:
    """A prediction that runs is deleted at once, and the worker runs the next one."""
    with_stream = events(client, busy)
    next(with_stream)

    assert client.delete(f"/v1/prediction/{busy}").status_code == 204
    assert client.get(f"/v1/prediction/{busy}").status_code == 404
    assert list(with_stream)[-1].data["status"] == "cancelled"
    run(client)
