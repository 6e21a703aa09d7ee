"""Serves `GET /metrics`: the metrics of this process, and gauges of the whole system."""

from collections.abc import Callable, Iterable

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.api.state import state_of
from app.predictions.errors import Unavailable
from app.predictions.stats import SystemStats
from app.predictions.worker_registry import Departure

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Return metrics in the Prometheus text format. The system gauges are the same in every api process."""
    text = state_of(request.app).metrics_text.get()
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def metrics_text(system: CollectorRegistry) -> bytes:
    """Write the metrics of this process and those of the system."""
    return generate_latest(REGISTRY) + generate_latest(system)


class SystemCollector(Collector):
    """Collects the gauges of the system at each scrape."""

    def __init__(self, count: Callable[[], SystemStats], waiters: Callable[[], int]) -> None:
        self._count = count
        self._waiters = waiters

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges. Without Redis, yield only those that do not need it."""
        yield _gauge("klein_waiters", "Clients that wait in this process", self._waiters())
        try:
            stats = self._count()
        except Unavailable:
            yield _gauge("klein_redis_up", "1 while Redis answers", 0)
            return
        yield _gauge("klein_redis_up", "1 while Redis answers", 1)
        yield _gauge("klein_predictions_running", "Running predictions", stats.running)
        yield _gauge(
            "klein_predictions_overdue",
            "Accepted predictions without an end, although their limits are over",
            stats.overdue,
        )
        yield _gauge(
            "klein_workers_ready",
            "Workers that are ready",
            len({worker.process_name for worker in stats.workers}),
        )
        yield _gauge("klein_webhooks_due", "Webhooks not yet delivered", stats.webhooks)
        depth = GaugeMetricFamily(
            "klein_queue_depth", "Predictions that wait for a worker", labels=("checkpoint",)
        )
        age = GaugeMetricFamily(
            "klein_queue_age_seconds",
            "How long the next in line has waited",
            labels=("checkpoint",),
        )
        for kind, line in stats.waiting.items():
            depth.add_metric((kind,), line.count)
            age.add_metric((kind,), line.oldest.total_seconds())
        departed = GaugeMetricFamily(
            "klein_workers_departed",
            "Workers that ended by themselves in the last hour",
            labels=("cause",),
        )
        for cause in Departure:
            departed.add_metric((cause,), stats.departed[cause])
        yield from (depth, age, departed)


def create_system_registry(
    count: Callable[[], SystemStats], waiters: Callable[[], int]
) -> CollectorRegistry:
    """Create a registry for the system gauges, separate from that of the process."""
    registry = CollectorRegistry()
    registry.register(SystemCollector(count, waiters))
    return registry


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
