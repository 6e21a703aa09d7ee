"""The history of a key's predictions: filters, pages, times, and isolation of keys."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.api_client import (
    EDIT,
    LONG,
    TEXT,
    create,
    data_uri,
    get,
    image_file,
    order,
    run,
    until,
)
from tests.support.klein_server import Klein


@pytest.fixture(scope="module")
def history(klein: Klein) -> Iterator[dict[str, str]]:
    """The newest three predictions of the first key, by status."""
    with klein.client() as client:
        queued_behind = create(client, **LONG)
        cancelled = create(client)
        client.post(f"/v1/prediction/{cancelled}/cancel")
        client.post(f"/v1/prediction/{queued_behind}/cancel")
        success = run(client)["predictionID"]
        edit = run(client, EDIT, image_urls=[data_uri(image_file())])["predictionID"]
        yield {"cancelled": cancelled, "success": success, "edit": edit}


@pytest.fixture(autouse=True)
def _with_history(history: dict[str, str]) -> None:
    """Make the history non-empty for every test here."""


def listed(client: httpx.Client, **filters: Any) -> list[str]:
    answer = client.get("/v1/executions", params=filters)
    assert answer.status_code == 200, answer.text
    return [execution["id"] for execution in answer.json()["executions"]]


def time_of(client: httpx.Client, prediction_id: str) -> datetime:
    lines = client.get("/v1/executions", params={"limit": 100}).json()["executions"]
    return next(datetime.fromisoformat(x["created_at"]) for x in lines if x["id"] == prediction_id)


def test_history_lists_newest_first(client: httpx.Client, history: dict[str, str]) -> None:
    """The history lists the newest prediction first, the same at both paths."""
    expected = [history["edit"], history["success"], history["cancelled"]]

    assert listed(client, limit=3) == expected
    assert client.get("/v2/executions").json() == client.get("/v1/executions").json()


def test_history_entry_has_all_fields(client: httpx.Client, history: dict[str, str]) -> None:
    """A successful entry has its times in order, its cost, and the first image's URL."""
    line = client.get("/v1/executions?limit=2").json()["executions"][1]

    prediction = get(client, history["success"])
    times = [datetime.fromisoformat(line[f"{at}_at"]) for at in ("created", "started", "completed")]
    assert times == sorted(times)
    assert (line["id"], line["model"], line["status"]) == (history["success"], TEXT, "success")
    assert (line["output"], line["execution_cost"]) == (
        prediction["output"],
        prediction["metrics"]["cost"],
    )
    assert line["run_time"] == pytest.approx(prediction["metrics"]["predict_time"])
    assert {line[name] for name in ("requested_model", "workflow_id", "workflow_execution_id")} == {
        None
    }


def test_pagination_does_not_overlap(client: httpx.Client) -> None:
    """Limit and offset select from the same list, and a page past the end is empty."""
    total = client.get("/v1/executions").json()["total_count"]

    assert listed(client, limit=1) + listed(client, limit=2, offset=1) == listed(client, limit=3)
    assert listed(client, offset=total) == []


def test_pagination_defaults(client: httpx.Client) -> None:
    """Without parameters a page has limit 20 and offset 0 and counts all."""
    page = client.get("/v1/executions").json()

    assert (page["limit"], page["offset"], page["total_capped"]) == (20, 0, False)
    assert page["total_count"] >= len(page["executions"]) > 0


def test_model_filter(client: httpx.Client, history: dict[str, str]) -> None:
    """Only predictions of the named model are listed."""
    assert listed(client, model=EDIT, limit=1) == [history["edit"]]
    assert history["edit"] not in listed(client, model=TEXT, limit=100)
    assert listed(client, model="none") == []


def test_status_filter(client: httpx.Client, history: dict[str, str]) -> None:
    """Status accepts a comma-separated list. Created and starting mean the same, and an empty value means all."""
    assert history["cancelled"] not in listed(client, status="success,error", limit=100)
    assert history["success"] in listed(client, status="success, error", limit=100)
    assert listed(client, status="created") == listed(client, status="starting")
    assert listed(client, status="", limit=3) == listed(client, limit=3)
    assert client.get("/v1/executions?status=success,Error").status_code == 400


def test_status_filter_created_lists_queued(client: httpx.Client, busy: str) -> None:
    """While the worker is busy, status=created lists waiting predictions and not the running one."""
    waiting = create(client)

    assert listed(client, status="created") == [waiting]
    client.post(f"/v1/prediction/{waiting}/cancel")


def test_time_filter(client: httpx.Client, history: dict[str, str]) -> None:
    """From and to limit the time of creation, with or without a time zone."""
    at = time_of(client, history["success"])
    before, after = at - timedelta(milliseconds=2), at + timedelta(milliseconds=2)
    naive = before.replace(tzinfo=None).isoformat()

    around = {"from": before.isoformat(), "to": after.isoformat()}
    assert listed(client, **around) == [history["success"]]
    assert history["success"] in listed(client, **{"from": naive}, limit=100)
    assert listed(client, to=before.isoformat(), limit=1) == [history["cancelled"]]
    assert listed(client, **{"from": "2001-01-01T00:00:00Z", "to": "2001-02-01T00:00:00Z"}) == []
    assert listed(client, to="0001-01-01T00:00:00Z") == []


def test_error_filter(client: httpx.Client, history: dict[str, str]) -> None:
    """With error_classification only failures of that class are listed."""
    failed = listed(client, error_classification="provider_error,execution_timeout", limit=100)

    assert all(get(client, prediction_id)["status"] == "error" for prediction_id in failed)
    assert not set(failed) & set(history.values())


def test_another_key_sees_empty_history(
    client: httpx.Client, other_client: httpx.Client, history: dict[str, str]
) -> None:
    """A history has only the predictions of its own key."""
    assert not set(listed(other_client, limit=100)) & set(listed(client, limit=100))


def test_new_prediction_is_listed_at_once(client: httpx.Client) -> None:
    """A new prediction is at the top of the history at once."""
    created = create(client)

    assert listed(client, limit=1) == [created]
    until(lambda: get(client, created)["status"] == "success")


def test_paths_with_trailing_slash(client) -> None:
    """A trailing slash changes nothing, whatever the method, and a bad id of a file is an invalid argument."""
    created = client.post("/v1/prediction/", json=order())
    assert created.status_code == 200
    path = f"/v1/prediction/{created.json()['id']}"

    assert client.get(f"{path}/").json()["id"] == created.json()["id"]
    assert client.get("/v1/executions/").status_code == 200
    assert client.get("/v1/models/").json() == client.get("/v1/models").json()
    refused = client.delete("/v1/files/bad")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid argument")
