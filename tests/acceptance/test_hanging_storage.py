"""A worker as shipped, except for its engine, whose storage hangs."""

import os

import httpx
import pytest

from tests.chaos.system import running_system
from tests.support.api_client import EDIT, create, data_uri, get, image_file, until


@pytest.mark.slow  # 30 s until the storage is given up
@pytest.mark.timeout(240)
def test_hung_read_fails_prediction() -> None:
    """A reference image whose read never returns fails its prediction, and the worker generates the next one."""
    headers = {"X-API-Key": "a-key-of-more-than-thirty-two-characters"}
    with (
        running_system(workers=0, keys=["a-key-of-more-than-thirty-two-characters"]) as system,
        httpx.Client(base_url=system.url, headers=headers, timeout=90, trust_env=False) as client,
    ):
        until(lambda: is_listening(client), within_s=60)
        hung = create(client, EDIT, image_urls=[data_uri(image_file(64, 64))])
        (reference,) = (system.folder / "outputs" / hung).glob("in-0.*")
        reference.unlink()
        os.mkfifo(reference)  # nobody writes to it, so no open for reading returns
        system.add_workers(1, "shipped-worker")
        until(lambda: get(client, hung)["status"] == "error", within_s=150)

        assert "did not answer within 30 s" in str(get(client, hung))
        assert get(client, create(client), wait=60)["status"] == "success"


def is_listening(client: httpx.Client) -> bool:
    """Return whether the api answers."""
    try:
        client.get("/healthz")
    except httpx.TransportError:
        return False
    return True
