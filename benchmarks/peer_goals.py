"""Compares what was measured of klein with its goals. Measures nothing."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from benchmarks.peer_list import CELERY, COG, FASTAPI, KLEIN, RQ, RUN
from benchmarks.peer_pictures import DEFAULT, SMALL, Drawn
from benchmarks.peer_runs import CONNECTIONS, Figures

OURS = {KLEIN.title, RUN.title}


@dataclass(slots=True, kw_only=True)
class Measured:
    """What one run measured. A part that did not run is empty or None."""

    jobs: dict[str, Figures] = field(default_factory=dict)
    calls: tuple[float, float] | None = None
    """Round trips to Redis, and synced writes, of a prediction."""
    drawn: Drawn | None = None
    creates: tuple[float, float] | None = None
    """Creates, and requests of the bare route, a second."""
    wakes: dict[int, tuple[float, float]] = field(default_factory=dict)
    """By waiters: median and p99 from the final write to the response, in ms."""
    rest: tuple[int, float, float] | None = None
    """Waiters, their share of a core, and the KB of each."""
    workers: tuple[int, float] | None = None
    """Workers, and their throughput as a share of engine time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A row of the table: values of klein, and their limits."""

    measure: str
    form: str  # of the values and of the limits
    limits: tuple[float, ...]
    seen: tuple[float, ...]
    at_least: bool = False
    beside: str = ""
    """What the same run saw of others."""

    @property
    def is_reached(self) -> bool:
        """Whether each value is within its limit."""
        pairs = zip(self.seen, self.limits, strict=True)
        return all(seen >= limit if self.at_least else seen <= limit for seen, limit in pairs)

    @property
    def row(self) -> str:
        """The row in Markdown."""
        sign, reached = "≥" if self.at_least else "≤", "yes" if self.is_reached else "**no**"
        limits, seen = self.form.format(*self.limits), self.form.format(*self.seen)
        return f"| {self.measure} | {sign} {limits} | {seen} | {reached} | {self.beside} |"


def goals(measured: Measured) -> list[Goal]:
    """Return the rows of what was measured."""
    return [*_of_jobs(measured), *_of_pictures(measured.drawn), *_of_processes(measured)]


def _of_jobs(measured: Measured) -> Iterator[Goal]:
    if measured.jobs:
        klein = measured.jobs[KLEIN.title]
        queues = _of(measured.jobs, (RQ.title, CELERY.title), Figures.processor_ms)
        yield Goal(
            measure="processor a prediction of 60 ms, all processes: at most 12 ms, and less than both queues",
            form="{:.1f} ms",
            limits=(min(12.0, *queues.values()),),
            seen=(klein.processor_ms(),),
            beside=_list(queues, "{:.1f} ms"),
        )
        others = [title for title in measured.jobs if title not in OURS]
        for connections in CONNECTIONS:
            shares = _of(measured.jobs, others, lambda f, n=connections: f.backlog_share(n))  # type: ignore[misc]  # a default
            yield Goal(
                measure=f"backlog of these at {connections} connections, of one after the other",
                form="{:.2f}",
                limits=(0.93,),
                seen=(klein.backlog_share(connections),),
                at_least=True,
                beside=_list(shares, "{:.2f}"),
            )
    if measured.calls is not None:
        yield Goal(
            measure="round trips to Redis, and synced writes, of a prediction",
            form="{:.1f} and {:.1f}",
            limits=(14, 4),
            seen=measured.calls,
        )


def _of_pictures(drawn: Drawn | None) -> Iterator[Goal]:
    if drawn is None:
        return
    others = [title for title in drawn.starts if title not in OURS]
    extra_ms = {title: drawn.over_bare_ms(SMALL, title) for title in others}
    yield Goal(
        measure="one client, a picture of 128x128, over the bare pipeline: at most 5 ms more than cog",
        form="{:.1f} ms",
        limits=(extra_ms[COG.title] + 5,) if COG.title in extra_ms else (0.0,),
        seen=(drawn.over_bare_ms(SMALL, KLEIN.title),),
        beside=_list(extra_ms, "{:.1f} ms"),
    )
    ratios = {title: drawn.of_bare(DEFAULT, title) for title in others}
    yield Goal(
        measure="one client, a picture of 1024x768, of the bare pipeline: at most the best other server",
        form="{:.2f}",
        limits=(min(ratios.values()),),
        seen=(drawn.of_bare(DEFAULT, KLEIN.title),),
        beside=_list(ratios, "{:.2f}"),
    )
    yield Goal(
        measure="one client, `run` and a download, of create, poll and download, 128x128",
        form="{:.2f}",
        limits=(1,),
        seen=(drawn.of(SMALL, RUN.title, KLEIN.title),),
    )
    klein = drawn.starts[KLEIN.title]
    starts = [(t, drawn.starts[t]) for t in (FASTAPI.title, COG.title) if t in drawn.starts]
    yield Goal(
        measure="first picture: processor since the start of all processes, and their memory (PSS)",
        form="{:.1f} s and {:.0f} MB",
        limits=(13, 420),
        seen=(klein.start_s, klein.start_mb),
        beside=", ".join(f"{t} {f.start_s:.1f} s and {f.start_mb:.0f} MB" for t, f in starts),
    )


def _of_processes(measured: Measured) -> Iterator[Goal]:
    if measured.creates is not None:
        create, bare = measured.creates
        yield Goal(
            measure=f"creates a second, of the {bare:.0f} of a FastAPI route with one Redis SET",
            form="{:.2f}",
            limits=(0.7,),
            seen=(create / bare,),
            at_least=True,
        )
    for waiters, times_ms in measured.wakes.items():
        yield Goal(
            measure=f"from the final write to the response, {waiters} waiters: p50 and p99",
            form="{:.1f} and {:.1f} ms",
            limits=(5, 50),
            seen=times_ms,
        )
    if measured.rest is not None:
        waiters, share, each_kb = measured.rest
        yield Goal(
            measure=f"{waiters} silent waiters: the API's share of a core, and memory of each",
            form="{:.1%} and {:.0f} KB",
            limits=(0.01, 25),
            seen=(share, each_kb),
        )
    if measured.workers is not None:
        workers, share = measured.workers
        yield Goal(
            measure=f"{workers} workers with jobs of 0.2 s, of the time of their jobs",
            form="{:.3f}",
            limits=(0.97,),
            seen=(share,),
            at_least=True,
        )


def _of(
    figures: dict[str, Figures], titles: Iterable[str], read: Callable[[Figures], float]
) -> dict[str, float]:
    """Read a value of each of these servers that ran."""
    return {title: read(figures[title]) for title in titles if title in figures}


def _list(values: dict[str, float], form: str) -> str:
    return ", ".join(f"{title} {form.format(value)}" for title, value in values.items())
