"""The metrics of a running system, as Prometheus reads them."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.api_client import run, until
from tests.support.klein_server import Klein, running_klein

pytestmark = pytest.mark.slow


def two_ports() -> int:
    """Find a free port whose next one is free too."""
    while True:
        with ExitStack() as stack, socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            try:
                stack.enter_context(socket.create_server(("127.0.0.1", port + 1)))
            except OSError:
                continue
            return port


@pytest.fixture(scope="module")
def measured(tiny_weights: Path) -> Iterator[tuple[Klein, int]]:
    port = two_ports()
    with running_klein(tiny_weights, KLEIN_METRICS_PORT=str(port)) as klein:
        yield klein, port


def scraped(port: int) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text


def value(text: str, sample: str) -> float:
    match = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    assert match, f"no {sample} in\n{text}"
    return float(match[1])


def test_prediction_is_counted_by_each_process(measured) -> None:
    """The api counts the request, the worker counts the stages and the end, and the courier answers."""
    klein, port = measured
    model = "flux-2-klein-4b-text-to-image"
    with klein.client() as client:
        run(client)
        api = client.get("/metrics").text

    def finished() -> str | None:
        """Return the metrics once the worker has counted the end, which it does after publishing."""
        text = scraped(port)
        return text if 'klein_prediction_stage_seconds_count{stage="finish"}' in text else None

    worker = until(finished)
    courier = scraped(port + 1)

    route = 'method="POST",route="/v1/prediction/run",status="200"'
    assert value(api, f"klein_http_requests_total{{{route}}}") == 1
    assert value(api, f'klein_predictions_accepted_total{{model="{model}"}}') == 1
    assert value(api, "klein_workers_ready") == 1
    assert value(api, 'klein_queue_depth{checkpoint="distilled"}') == 0
    ended = f'klein_predictions_ended_total{{cause="",model="{model}",status="succeeded"}}'
    assert value(worker, ended) == 1
    for stage in ("queued", "generate", "store", "finish"):
        assert value(worker, f'klein_prediction_stage_seconds_count{{stage="{stage}"}}') == 1
    assert value(worker, "klein_engine_ready") == 1
    assert value(courier, "klein_tokens_reissued_total") == 0


def text_with(client: httpx.Client, line: str) -> str:
    """Return the metrics once they contain a line, else ''."""
    text = client.get("/metrics").text
    return text if line in text else ""


def test_metric_labels_are_bounded(measured) -> None:
    """Unknown paths and methods share one series each, so a caller cannot fill the memory with series."""
    klein, _ = measured
    with klein.client() as client:
        for k in range(20):
            client.get(f"/no/such/path/{k}")
            client.request(f"VERB{k}", "/v1/models")
        series = 'klein_http_requests_total{method="GET",route="none",status="404"}'
        text = until(lambda: text_with(client, f"{series} 20.0"))  # it is made once a second

    assert "/no/such" not in text
    assert "VERB" not in text
