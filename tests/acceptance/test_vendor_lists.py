"""The lists of the vendors' APIs: pages, and filters by time, as their SDKs ask for them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import openai
import pytest

from tests.support.api_client import image_file, run
from tests.support.klein_server import Klein

HOUR = timedelta(hours=1)


def test_openai_sdk_pages_through_files(klein: Klein) -> None:
    """The SDK asks for the files after the last one of a page until all were shown, each once."""
    client = openai.OpenAI(api_key=klein.key, base_url=f"{klein.url}/openai/v1", max_retries=0)
    sent = [
        client.files.create(file=(f"{k}.png", image_file(64 + k, 64)), purpose="vision").id
        for k in range(3)
    ]

    listed = [file.id for file, _ in zip(client.files.list(limit=1), range(1000), strict=False)]
    assert listed[:3] == sent[::-1]
    assert len(listed) == len(set(listed)) < 1000
    assert all(file.purpose == "vision" for file in client.files.list(purpose="vision"))
    assert list(client.files.list(purpose="batch")) == []
    with pytest.raises(openai.NotFoundError):
        client.files.list(after="unknown")


def test_replicate_filters_by_time(klein: Klein, client: httpx.Client) -> None:
    """`created_after` and `created_before` select, also with the offset of a time zone, and on the next page too."""
    prediction_id = run(client)["predictionID"]
    now = datetime.now(UTC)

    def listed(**query: Any) -> list[str]:
        reply = client.get("/replicate/v1/predictions", params=query)
        return [prediction["id"] for prediction in reply.raise_for_status().json()["results"]]

    assert prediction_id in listed(created_after=(now - HOUR).isoformat())
    assert prediction_id in listed(created_before=(now + HOUR).isoformat())
    assert prediction_id not in listed(created_after=(now + HOUR).isoformat())
    assert prediction_id not in listed(created_before=(now - HOUR).isoformat())
    assert listed(source="web") == []
    reply = client.get("/replicate/v1/predictions", params={"created_after": "yesterday"})
    assert "created_after: must be a time" in reply.text


def test_plus_of_time_zone_may_be_lost(client: httpx.Client) -> None:
    """A time whose plus was not escaped is read as if it were."""
    prediction_id = run(client)["predictionID"]
    reply = client.get("/v1/executions?from=2020-01-01T00:00:00+02:00")

    assert prediction_id in [entry["id"] for entry in reply.raise_for_status().json()["executions"]]
