"""The job: look at a prediction, and if it is due, claim it, draw it, and hand the pixels on."""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event

from app.logs import log
from app.metrics import BATCH_SIZE, ENGINE_DEATHS
from app.predictions.errors import Lost, Unavailable, UnknownPrediction
from app.predictions.prediction import Cause, Failure, Prediction
from app.predictions.store import Store
from app.storage import Storage
from app.storage.errors import FileMissing, StorageError
from worker.asked import Asked, Outcome
from worker.encode import Format, encode
from worker.engines import (
    Cancelled,
    EngineError,
    EngineFault,
    OutOfMemory,
    Picture,
    Result,
    TimedOut,
    UnusableLora,
    Withheld,
)
from worker.leases import Leases
from worker.order import order_of
from worker.process import ChildDied, ChildGone
from worker.publish import Publisher
from worker.supervise import EngineChild

AHEAD_S = 0.1
"""So long before a drawing's end the next prediction is claimed, so that the engine does not wait."""
PREVIEW_QUALITY = 70
PROGRESS_S = 0.03
"""Steps that follow each other faster are not recorded one by one."""


CompanyOf = Callable[[Prediction], Iterable[str]]
"""Takes out of line the ids of whom a claimed prediction can be drawn at once with."""


def nobody(_first: Prediction) -> tuple[str, ...]:
    """Have each prediction drawn alone."""
    return ()


@dataclass(slots=True, kw_only=True)
class Drawing:
    """One claimed prediction on its way through the engine."""

    prediction: Prediction
    owner: str
    is_nearly_done: Event = field(default_factory=Event)
    has_company: bool = False  # others are drawn at once with it
    started_s: float = 0.0
    recorded_s: float = 0.0  # when its progress was written last
    preview: Picture | None = None  # that is not written yet

    def is_near_end(self, step: int, steps: int, now_s: float) -> bool:
        """Estimate from the steps so far whether the rest takes no longer than AHEAD_S."""
        return (now_s - self.started_s) / step * (steps - step) <= AHEAD_S

    def see(self, preview: Picture) -> None:
        """Keep the newest preview until a step is recorded."""
        self.preview = preview


class Generator:
    """One engine and all that a job needs beside it; the drawing has a thread of its own."""

    def __init__(  # noqa: PLR0913 -- main wires each part by name
        self,
        store: Store,
        storage: Storage,
        child: EngineChild,
        leases: Leases,
        publisher: Publisher,
        revive: Callable[[], None],
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._storage = storage
        self._child = child
        self._leases = leases
        self._publisher = publisher
        self._revive = revive  # bring a dead engine back; returns once it is ready
        self._rest = rest  # what is due between two drawings
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="drawing")
        self._last: Future[None] | None = None
        self._in_hand: dict[str, Drawing] = {}
        self._is_leaving = False

    def work(self, prediction_id: str, company_of: CompanyOf = nobody) -> None:
        """Have a prediction drawn, at once with its company, unless it is final or somebody else's.

        Returns shortly before its end: the next one is claimed meanwhile, and waits for the engine.
        """
        is_nearly_done = Event()
        first = self._claim(prediction_id, is_nearly_done)
        if first is None:
            return
        batch = [first]
        try:
            others = (self._claim(i, is_nearly_done) for i in company_of(first.prediction))
            batch.extend(drawing for drawing in others if drawing is not None)
        except Exception as exc:  # noqa: BLE001  # around a job: it needs no company; who is out of line comes again
            log.warning("batch_not_filled", prediction=prediction_id, error=str(exc))
        for drawing in batch:
            drawing.has_company = len(batch) > 1
        try:
            self._last = self._engine.submit(self._carry_out, batch)
        except RuntimeError:  # told to leave meanwhile
            self.give_back()
        is_nearly_done.wait()

    def _claim(self, prediction_id: str, is_nearly_done: Event) -> Drawing | None:
        owner = secrets.token_hex(8)
        try:
            prediction = self._store.change(prediction_id, lambda p, now: p.claim(owner, now))
        except (Lost, UnknownPrediction):
            return None
        if prediction.status.is_final:
            log.warning("prediction_given_up", prediction=prediction_id)
            return None
        drawing = Drawing(prediction=prediction, owner=owner, is_nearly_done=is_nearly_done)
        self._in_hand[owner] = drawing
        self._leases.hold(prediction_id, owner)
        return drawing

    def finish(self) -> None:
        """Wait until what was claimed is drawn. Raises SystemExit where the engine is gone for good."""
        with suppress(CancelledError):  # given back before its turn
            if self._last is not None:
                self._last.result()

    def give_back(self) -> None:
        """Release what is still in hand; no attempt is lost by it."""
        self._is_leaving = True
        for owner, drawing in list(self._in_hand.items()):
            self._leases.drop(drawing.prediction.id)
            self._release(drawing.prediction.id, owner)
            drawing.is_nearly_done.set()  # whoever waits for a drawing that never begins goes on
        self._engine.shutdown(wait=False, cancel_futures=True)

    def _carry_out(self, batch: Sequence[Drawing]) -> None:
        """Draw, on the engine's thread; then each lease is dropped, or is the publisher's."""
        handed_on: set[str] = set()
        try:
            self._draw(batch, handed_on)
            if not self._is_leaving:
                self._rest()
        except Exception:  # noqa: BLE001  # around a job: recorded, and the lease's end brings it back
            log.exception("drawing_failed", predictions=[d.prediction.id for d in batch])
        finally:
            for drawing in batch:
                if drawing.owner not in handed_on:
                    self._leases.drop(drawing.prediction.id)
                self._in_hand.pop(drawing.owner, None)
                drawing.is_nearly_done.set()

    def _draw(self, batch: Sequence[Drawing], handed_on: set[str]) -> None:
        """Draw, and note whose pixels went to the publisher, who then holds the lease."""
        for drawing in batch:
            drawing.started_s = drawing.recorded_s = time.monotonic()
        if not self._child.is_ready:
            self._revive()
        try:
            asked = [self._asked(drawing) for drawing in batch]
        except StorageError as exc:
            self._settle(batch[0], exc)  # only what is drawn alone has references
            return
        BATCH_SIZE.observe(len(batch))
        outcomes = self._child.draw(asked)
        died = next((outcome for outcome in outcomes if isinstance(outcome, ChildDied)), None)
        if died is not None and not self._is_leaving:
            ENGINE_DEATHS.inc()
            ids = [drawing.prediction.id for drawing in batch]
            log.error("engine_died", predictions=ids, error=str(died), tail=died.tail)
        for drawing, outcome in zip(batch, outcomes, strict=True):
            if self._settle(drawing, outcome):
                handed_on.add(drawing.owner)
        if not self._is_leaving and (died is not None or not self._child.alive):
            self._revive()

    def _asked(self, drawing: Drawing) -> Asked:
        prediction = drawing.prediction
        references = tuple(self._storage.get(key) for key in prediction.references)
        return Asked(
            order=order_of(prediction, references),
            on_step=lambda step, steps: self._advance(drawing, step, steps),
            on_preview=drawing.see,
            timeout_s=prediction.timeouts.run.total_seconds() if prediction.timeouts else None,
        )

    def _settle(self, drawing: Drawing, outcome: Outcome | StorageError) -> bool:
        """End the attempt as it went, and tell whether the publisher has taken over."""
        prediction, owner = drawing.prediction, drawing.owner
        match outcome:
            case Cancelled():
                log.info("prediction_stopped", prediction=prediction.id)
            case Result() | ChildDied() if self._is_leaving:
                pass  # it was given back
            case Result():
                self._publisher.publish(prediction, owner, outcome)
                return True
            case ChildGone():
                self._release(prediction.id, owner)
            case ChildDied():
                self._retry(drawing, str(outcome))
            case TimedOut() if drawing.has_company:  # the next attempt is drawn alone
                self._retry(drawing, str(outcome))
            case _:
                failure = failure_of(outcome)
                self._end_attempt(prediction.id, lambda p, now: p.fail(owner, failure, now))
        return False

    def _advance(self, drawing: Drawing, step: int, steps: int) -> bool:
        """Record a step; False where the prediction is no longer ours to draw."""
        now_s = time.monotonic()
        if drawing.is_near_end(step, steps, now_s):
            drawing.is_nearly_done.set()
        if step == steps or now_s - drawing.recorded_s < PROGRESS_S:
            return True  # the pixels, or the next step, are so near that they say it
        drawing.recorded_s = now_s
        try:
            if drawing.preview is not None:
                preview = encode(drawing.preview, Format.WEBP, PREVIEW_QUALITY)
                self._store.show(drawing.prediction.id, preview)
                drawing.preview = None
            self._store.change(
                drawing.prediction.id, lambda p, _now: p.advance(drawing.owner, step, steps)
            )
        except Lost:
            return False
        except Unavailable:
            log.warning("progress_not_recorded", prediction=drawing.prediction.id)
        return True

    def _retry(self, drawing: Drawing, reason: str) -> None:
        self._end_attempt(drawing.prediction.id, lambda p, now: p.retry(drawing.owner, reason, now))

    def _release(self, prediction_id: str, owner: str) -> None:
        self._end_attempt(prediction_id, lambda p, now: p.release(owner, now))

    def _end_attempt(self, prediction_id: str, transition: Callable[..., Prediction]) -> None:
        try:
            ended = self._store.change(prediction_id, transition)
        except (Lost, Unavailable) as exc:  # the lease runs out and the reconciler goes on
            log.warning("attempt_not_ended", prediction=prediction_id, error=str(exc))
        else:
            log.info("attempt_ended", prediction=prediction_id, status=ended.status)


_CAUSES = (
    (StorageError, Cause.STORAGE),
    (UnusableLora, Cause.INPUT),
    (Withheld, Cause.WITHHELD),
    (TimedOut, Cause.TIMEOUT),
    (EngineFault, Cause.ENGINE),
)


def failure_of(error: StorageError | EngineError) -> Failure:
    """Say to the caller why an attempt failed."""
    match error:
        case FileMissing():
            return Failure(cause=Cause.INPUT, message="an input image has expired; send it again")
        case OutOfMemory():
            message = "the device has not enough memory for this; ask for fewer or smaller images"
            return Failure(cause=Cause.OUT_OF_MEMORY, message=message)
    cause = next(cause for kind, cause in _CAUSES if isinstance(error, kind))
    return Failure(cause=cause, message=str(error))


Take = Callable[[], str | None]
_installed: tuple[Generator, Take, CompanyOf] | None = None


def install(generator: Generator, take: Take, company_of: CompanyOf = nobody) -> None:
    """Set what this process's jobs work with, and who tells them what is next; RQ calls `generate` by its name."""
    global _installed  # noqa: PLW0603 -- RQ offers no place for a job's dependencies
    _installed = generator, take, company_of


def generate() -> None:
    """Work on the prediction that is next in line: the only function that a queue token can call."""
    if _installed is None:
        raise RuntimeError("this process is not a klein worker")
    generator, take, company_of = _installed
    prediction_id = take()
    if prediction_id is not None:
        generator.work(prediction_id, company_of)
