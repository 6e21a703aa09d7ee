"""Keeps the entries of this worker in the worker registry, one for each of its checkpoints, and follows the commands for them."""

import threading
from collections.abc import Callable
from dataclasses import replace

from app.logs import log
from app.metrics import ENGINE_READY
from app.predictions.errors import Unavailable
from app.predictions.worker_registry import SEEN_S, Departure, Worker, WorkerCommand, WorkerRegistry


class Registration:
    """Announces one checkpoint."""

    def __init__(
        self,
        registry: WorkerRegistry,
        on_change: Callable[[], None],
        is_held: Callable[[], bool],
        on_command: Callable[[WorkerCommand], None],
        image_age_s: Callable[[], float | None],
    ) -> None:
        self._registry = registry
        self._on_change = on_change
        self._is_held = is_held  # whether `Registrations.release` announces it later
        self._on_command = on_command
        self._image_age_s = image_age_s
        self._worker: Worker | None = None
        self._last: Worker | None = None  # as it was announced, also while it is not ready
        self._registering = threading.RLock()

    @property
    def is_present(self) -> bool:
        """Whether the worker takes predictions for the checkpoint."""
        return self._worker is not None

    def announce(self, worker: Worker | None, departure: Departure | None = None) -> None:
        """Register the worker as ready from now on, or remove it with None. `departure` says why it ends by itself."""
        with self._registering:
            previous, self._worker = self._worker, worker
            self._last = worker or previous or self._last
            if self._is_held():
                return
            self._on_change()
            try:
                if worker is not None:
                    self._registry.announce(self._date(worker, previous))
                elif self._last is not None and (previous is not None or departure is not None):
                    seen_at = self._registry.now() - SEEN_S
                    self._registry.announce(
                        replace(self._last, seen_at=seen_at, departure=departure)
                    )
            except Unavailable as exc:
                log.warning("registration_failed", error=str(exc))

    def beat(self) -> None:
        """Announce what was announced last, and follow the command that came since."""
        if self._is_held():
            return
        with self._registering:  # a state that another thread announces meanwhile stays
            worker = self._worker
            if worker is not None:
                self.announce(worker)
        if worker is not None:
            self._follow_command(worker.name)

    def date(self) -> Worker | None:
        """Return the announcement of now, or None if there is none. Raises Unavailable."""
        with self._registering:
            return None if self._worker is None else self._date(self._worker, None)

    def _date(self, worker: Worker, previous: Worker | None) -> Worker:
        now, age_s = self._registry.now(), self._image_age_s()
        is_same = previous is not None and previous.state is worker.state
        self._worker = replace(
            worker,
            seen_at=now,
            state_since=previous.state_since if previous is not None and is_same else now,
            image_at=None if age_s is None else now - age_s,
        )
        return self._worker

    def _follow_command(self, name: str) -> None:
        try:
            command = self._registry.take_command(name)
        except Unavailable:
            return  # it is kept for a minute
        if command is not None:
            log.info("command_received", command=command, entry=name)
            self._on_command(command)


class Registrations:
    """All entries of this worker. With `is_held` nothing is announced before `release`."""

    def __init__(self, registry: WorkerRegistry, *, is_held: bool = False) -> None:
        self._registry = registry
        self._is_held = is_held
        self._entries: list[Registration] = []

    def add(
        self,
        on_command: Callable[[WorkerCommand], None] = lambda _command: None,
        image_age_s: Callable[[], float | None] = lambda: None,
    ) -> Registration:
        """Add an entry, which is announced later.

        `on_command` is called with what an operator asks. `image_age_s` returns how long ago the engine generated an image.
        """
        self._entries.append(
            Registration(self._registry, self._note, lambda: self._is_held, on_command, image_age_s)
        )
        return self._entries[-1]

    def release(self) -> None:
        """Announce all entries at once, so that no caller sees one model of the worker without the others."""
        self._is_held = False
        try:
            dated = [entry.date() for entry in self._entries]
            self._registry.announce(*(worker for worker in dated if worker is not None))
        except Unavailable as exc:  # the next heartbeat announces them
            log.warning("registration_failed", error=str(exc))
        self._note()

    def beat(self) -> None:
        """Announce each entry again, and follow the commands that came since."""
        for entry in self._entries:
            entry.beat()

    def leave(self) -> None:
        """Remove all entries."""
        for entry in self._entries:
            entry.announce(None)

    def _note(self) -> None:
        ENGINE_READY.set(any(entry.is_present for entry in self._entries))
