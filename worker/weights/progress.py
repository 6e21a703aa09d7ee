"""Reports the progress of a download: bytes, rate and remaining time."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_WINDOW = 12  # reports over which the rate is averaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How much of a download is there."""

    done_bytes: int
    total_bytes: int
    bytes_per_s: float

    @property
    def remaining_s(self) -> float | None:
        """Estimated time until the end. None while nothing arrives."""
        if self.done_bytes >= self.total_bytes:
            return 0.0
        if self.bytes_per_s <= 0:
            return None
        return (self.total_bytes - self.done_bytes) / self.bytes_per_s


@contextmanager
def report_progress(
    report: Callable[[Progress], None],
    present_bytes: Callable[[], int],
    total_bytes: int,
    interval_s: float,
) -> Iterator[None]:
    """Call `report` every `interval_s` seconds while the body runs, and once at its end."""
    is_over = threading.Event()
    samples = deque([(time.monotonic(), present_bytes())], maxlen=_WINDOW)

    def report_once() -> None:
        samples.append((time.monotonic(), present_bytes()))
        (first_at, first_bytes), (last_at, last_bytes) = samples[0], samples[-1]
        rate = (last_bytes - first_bytes) / max(last_at - first_at, 1e-9)
        report(Progress(done_bytes=last_bytes, total_bytes=total_bytes, bytes_per_s=max(rate, 0.0)))

    def repeat() -> None:
        while not is_over.wait(interval_s):
            report_once()

    thread = threading.Thread(target=repeat, name="download-progress", daemon=True)
    thread.start()
    try:
        yield
        report_once()
    finally:
        is_over.set()
        thread.join()
