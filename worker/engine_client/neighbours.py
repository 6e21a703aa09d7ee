"""What an engine supervisor asks of the other engines of its worker. `worker.engine_client.pool` answers."""

import threading
from collections.abc import Callable
from typing import Any, Protocol


class Neighbours(Protocol):
    """The other engines of a worker, as the supervisor of one of them sees them."""

    lock: threading.RLock
    """Held while an engine starts or is unloaded, so that one of a worker does so at a time."""

    def make_room(self, supervisor: Any, is_idle: Callable[[], bool]) -> bool:
        """Unload others until memory holds the engine of this supervisor too. Returns False if `is_idle` forbids it."""

    def unload_others(self, supervisor: Any) -> bool:
        """Unload all others. Returns whether one was loaded."""

    def note_loaded(self, supervisor: Any) -> None:
        """Note what memory the engine of this supervisor takes, which was just loaded."""


class NoNeighbours:
    """Stands for the other engines of a worker that has one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def make_room(self, _supervisor: Any, _is_idle: Callable[[], bool]) -> bool:
        """Return that there is room."""
        return True

    def unload_others(self, _supervisor: Any) -> bool:
        """Return that there is none."""
        return False

    def note_loaded(self, _supervisor: Any) -> None:
        """Do nothing."""
