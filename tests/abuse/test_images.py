"""Images that hold what others need: hosts that never answer, and files that cost a lot to decode."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import pytest

from app.images.decoders import PROCESSES
from app.images.source import FETCHES_PER_ADDRESS
from tests.abuse.attacks.images import costly_jpeg, uri_of
from tests.abuse.parts import ATTACKER, VICTIM, running_parts
from tests.integration.test_service import DATA_URI
from tests.support.api_client import EDIT, create, order, until
from tests.support.silent_host import silent_hosts

SPELLINGS = ("127.0.0.1", "localhost", "LOCALHOST", "127.0.0.1")
DECODING_BYTES = 128 * 1024 * 1024  # an idle decoder takes 25 MB
THREADS_MAX = 25
"""Without its own limits each of 120 creates would hold a thread."""
REPLICATE = "/v1/models/black-forest-labs/flux-2-klein-4b/predictions"


@pytest.fixture(scope="module")
def parts():
    with running_parts(KLEIN_ALLOW_HOSTS="127.0.0.1,localhost") as running:
        yield running


def bodies(urls):
    """The same images in each dialect that takes URLs."""
    return {
        "/v1/prediction": order(EDIT, image_urls=urls),
        REPLICATE: {"input": {"prompt": "a red circle", "images": urls}},
        "/bfl/v1/flux-2-klein-4b": {"prompt": "a red circle", "input_image": urls[0]},
    }


def test_slow_urls_hold_no_thread(parts):
    """120 creates of one key name four images each of a silent host. One address gets the connections of one key's share
    at most, few threads run, and another key creates meanwhile. When the callers hang up, the connections end.
    """
    with silent_hosts(1) as (silent,), parts.client(VICTIM) as victim:
        urls = [f"http://{host}:{silent.port}/{k}" for k, host in enumerate(SPELLINGS)]
        before = parts.api.num_threads()
        attackers = [parts.client(ATTACKER) for _ in range(120)]

        def attack(client):
            for path, body in bodies(urls).items():
                try:
                    client.post(path, json=body)
                except httpx.HTTPError:
                    return

        threads = [threading.Thread(target=attack, args=(a,), daemon=True) for a in attackers]
        for thread in threads:
            thread.start()
        until(lambda: silent.count_open() == FETCHES_PER_ADDRESS, 60)
        created = [create(victim, EDIT, image_urls=[DATA_URI]) for _ in range(5)]

        assert len(created) == 5
        assert silent.count_open() <= FETCHES_PER_ADDRESS
        assert parts.api.num_threads() - before < THREADS_MAX
        for attacker in attackers:
            attacker._transport.close()  # noqa: SLF001 -- closes connections in use, which `close` refuses
        until(lambda: silent.count_open() == 0, 60)


def test_images_of_request_are_fetched_at_once(parts):
    """The four images of one request are fetched at once, and those that do not come are refused together."""
    with silent_hosts(4) as silent, parts.client(ATTACKER) as attacker:
        urls = [f"http://127.0.0.1:{host.port}/" for host in silent]
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(
                attacker.post, "/v1/prediction", json=order(EDIT, image_urls=urls)
            )
            until(lambda: [host.count_open() for host in silent] == [1] * 4, 30)
            refused = answer.result()

    assert refused.status_code == 400
    fields = [problem["field"] for problem in refused.json()["details"]]
    assert fields == [f"image_urls[{k}]" for k in range(4)]


def test_costly_images_leave_decoder_for_others(parts):
    """While a key has many costly images decoded, at most two processes decode, and another key's images are checked."""
    with parts.client(ATTACKER) as attacker, parts.client(VICTIM) as victim:
        stopping = threading.Event()
        counts = []

        def attack(number):
            for k in range(1000):
                if stopping.is_set():
                    return
                data = costly_jpeg() + f"{number} {k}".encode()
                body = order(EDIT, image_urls=[uri_of(data)])
                counts.append(attacker.post("/v1/prediction", json=body).status_code)

        with ThreadPoolExecutor(8) as threads:
            attacks = [threads.submit(attack, number) for number in range(8)]
            try:
                until(lambda: len(counts) >= 2, 120)
                for _ in range(5):
                    create(victim, EDIT, image_urls=[DATA_URI])
                    assert len(parts.api.children()) <= PROCESSES
                done_meanwhile = len(counts)
            finally:
                stopping.set()
            for each in attacks:
                each.result()

    assert done_meanwhile < 2 + 3 * 5  # in one line each of the five would wait for seven others


def test_dead_decoders_are_replaced(parts):
    """Decoders that were killed, waiting or decoding, are replaced. Images are checked, and no answer is a 500."""
    with parts.client(VICTIM) as victim:
        create(victim, EDIT, image_urls=[DATA_URI])
        for decoder in parts.api.children():
            decoder.kill()
        create(victim, EDIT, image_urls=[DATA_URI])

        large = order(EDIT, image_urls=[uri_of(costly_jpeg(6900))])
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(victim.post, "/v1/prediction", json=large)
            while not answer.done():  # the first one is replaced once
                for decoder in parts.api.children():
                    with suppress(psutil.NoSuchProcess):
                        if decoder.memory_info().rss > DECODING_BYTES:
                            decoder.kill()
            refused = answer.result()
        create(victim, EDIT, image_urls=[DATA_URI])

    assert refused.status_code == 400
    assert "could not be decoded" in refused.text
    assert len(parts.api.children()) <= PROCESSES
