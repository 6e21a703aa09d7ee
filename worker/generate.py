"""The job: look at a prediction, and if it is due, claim it, draw it, and hand the pixels on."""

import secrets
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event

from app.logs import log
from app.metrics import ENGINE_DEATHS
from app.predictions.catalog import MODELS, CheckpointKind
from app.predictions.errors import Lost, Unavailable, UnknownPrediction
from app.predictions.prediction import Cause, Failure, Prediction
from app.predictions.store import Store
from app.storage import Storage
from app.storage.errors import FileMissing, StorageError
from worker.encode import Format, encode
from worker.engines import (
    Cancelled,
    EngineFault,
    Lora,
    Order,
    OutOfMemory,
    Picture,
    TimedOut,
    UnusableLora,
    Withheld,
)
from worker.leases import Leases
from worker.publish import Publisher
from worker.supervise import ChildDied, ChildGone, EngineChild

AHEAD_S = 0.1
"""So long before a drawing's end the next prediction is claimed, so that the engine does not wait."""
PREVIEW_QUALITY = 70
PROGRESS_S = 0.03
"""Steps that follow each other faster are not recorded one by one."""


@dataclass(slots=True, kw_only=True)
class Drawing:
    """One claimed prediction on its way through the engine."""

    prediction: Prediction
    owner: str
    is_nearly_done: Event = field(default_factory=Event)
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

    def work(self, prediction_id: str) -> None:
        """Have a prediction drawn, unless it is final or somebody else's.

        Returns shortly before its end: the next one is claimed meanwhile, and waits for the engine.
        """
        owner = secrets.token_hex(8)
        try:
            prediction = self._store.change(prediction_id, lambda p, now: p.claim(owner, now))
        except (Lost, UnknownPrediction):
            return
        if prediction.status.is_final:
            log.warning("prediction_given_up", prediction=prediction_id)
            return
        drawing = Drawing(prediction=prediction, owner=owner)
        self._in_hand[owner] = drawing
        self._leases.hold(prediction_id, owner)
        try:
            self._last = self._engine.submit(self._carry_out, drawing)
        except RuntimeError:  # told to leave meanwhile
            self.give_back()
        drawing.is_nearly_done.wait()

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

    def _carry_out(self, drawing: Drawing) -> None:
        """Draw, on the engine's thread; then the lease is dropped, or is the publisher's."""
        is_handed_on = False
        try:
            is_handed_on = self._draw(drawing)
            if not self._is_leaving:
                self._rest()
        except Exception:  # noqa: BLE001  # around a job: recorded, and the lease's end brings it back
            log.exception("drawing_failed", prediction=drawing.prediction.id)
        finally:
            if not is_handed_on:
                self._leases.drop(drawing.prediction.id)
            self._in_hand.pop(drawing.owner, None)
            drawing.is_nearly_done.set()

    def _draw(self, drawing: Drawing) -> bool:
        """Draw, and tell whether pixels went to the publisher, who then holds the lease."""
        prediction, owner = drawing.prediction, drawing.owner
        drawing.started_s = drawing.recorded_s = time.monotonic()
        try:
            if not self._child.is_ready:
                self._revive()
            references = tuple(self._storage.get(key) for key in prediction.references)
            result = self._child.generate(
                order_of(prediction, references),
                lambda step, steps: self._advance(drawing, step, steps),
                on_preview=drawing.see,
                timeout_s=prediction.timeouts.run.total_seconds() if prediction.timeouts else None,
            )
        except Cancelled:
            log.info("prediction_stopped", prediction=prediction.id)
        except ChildDied as exc:
            if self._is_leaving:
                return False
            ENGINE_DEATHS.inc()
            log.error("engine_died", prediction=prediction.id, error=str(exc), tail=exc.tail)
            if isinstance(exc, ChildGone):
                self._release(prediction.id, owner)
            else:
                reason = str(exc)
                self._end_attempt(prediction.id, lambda p, now: p.retry(owner, reason, now))
            self._revive()
        except (StorageError, UnusableLora, Withheld, OutOfMemory, TimedOut, EngineFault) as exc:
            failure = failure_of(exc)
            self._end_attempt(prediction.id, lambda p, now: p.fail(owner, failure, now))
            if not self._child.alive:  # it did not stop in time
                self._revive()
        else:
            if not self._is_leaving:  # else it was given back
                self._publisher.publish(prediction, owner, result)
                return True
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


def failure_of(
    error: StorageError | UnusableLora | Withheld | OutOfMemory | TimedOut | EngineFault,
) -> Failure:
    """Say to the caller why an attempt failed."""
    match error:
        case FileMissing():
            return Failure(cause=Cause.INPUT, message="an input image has expired; send it again")
        case OutOfMemory():
            message = "the device has not enough memory for this; ask for fewer or smaller images"
            return Failure(cause=Cause.OUT_OF_MEMORY, message=message)
    cause = next(cause for kind, cause in _CAUSES if isinstance(error, kind))
    return Failure(cause=cause, message=str(error))


def order_of(prediction: Prediction, references: tuple[bytes, ...]) -> Order:
    """Say to the engine what the prediction asks for."""
    model = MODELS[prediction.model]
    checked = model.parse(prediction.input)
    width, height = checked.size or (None, None)
    seed = checked.seed or 0
    return Order(
        prompt=checked.prompt,
        width=width,
        height=height,
        steps=checked.num_inference_steps or model.checkpoint.default_steps,
        guidance=1.0 if model.checkpoint is CheckpointKind.DISTILLED else checked.guidance,
        seeds=tuple(seed + k for k in range(checked.num_images)),
        references=references,
        negative_prompt=checked.negative,
        loras=tuple(Lora(path=lora.path, scale=lora.scale) for lora in checked.loras),
        previews=checked.previews,
    )


Take = Callable[[], str | None]
_installed: tuple[Generator, Take] | None = None


def install(generator: Generator, take: Take) -> None:
    """Set what this process's jobs work with, and who tells them what is next; RQ calls `generate` by its name."""
    global _installed  # noqa: PLW0603 -- RQ offers no place for a job's dependencies
    _installed = generator, take


def generate() -> None:
    """Work on the prediction that is next in line: the only function that a queue token can call."""
    if _installed is None:
        raise RuntimeError("this process is not a klein worker")
    generator, take = _installed
    prediction_id = take()
    if prediction_id is not None:
        generator.work(prediction_id)
