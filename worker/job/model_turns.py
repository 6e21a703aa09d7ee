"""Decides which tokens a worker takes first: those of its loaded models, until another one has waited for their turn. Pure."""

import time
from collections.abc import Callable, Collection, Mapping

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.schedule import PATIENCE_S, order_models


class ModelTurns:
    """Keeps the order in which the models of a worker were used, and which of those that are not loaded have tokens."""

    def __init__(
        self,
        loaded_since: Callable[[CheckpointKind], float | None],
        turn_s: float = 0.0,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loaded_since = loaded_since  # by the same clock. None means not loaded
        self._turn_s = turn_s  # how long loaded models keep the worker while others have tokens
        self.patience_s = patience_s
        self._clock = clock
        self._waiting_since: dict[CheckpointKind, float] = {}
        self._used: list[CheckpointKind] = []  # the latest last

    def is_loaded(self, kind: CheckpointKind) -> bool:
        """Return whether a token of this kind costs no start of an engine."""
        return self._loaded_since(kind) is not None

    def note_use(self, kind: CheckpointKind) -> None:
        """Note that a token of this kind was taken."""
        self._used = [*(k for k in self._used if k is not kind), kind]

    def order(
        self, kinds: Collection[CheckpointKind], tokens: Mapping[CheckpointKind, int]
    ) -> list[CheckpointKind]:
        """Return the kinds whose tokens to take, the first one first. `tokens` counts those of kinds that are not loaded.

        Loaded models take turns. Of those that are not loaded, the one comes first that has waited longest.
        """
        if len(kinds) == 1 and all(map(self.is_loaded, kinds)):  # the usual worker
            self._waiting_since.clear()
            return list(kinds)
        now = self._clock()
        loaded_at = {kind: self._loaded_since(kind) for kind in kinds}
        loaded = {
            k: at for k in sorted(loaded_at, key=self._last_use) if (at := loaded_at[k]) is not None
        }
        self._waiting_since = {
            kind: self._waiting_since.get(kind, now)
            for kind, at in loaded_at.items()
            if at is None and tokens.get(kind)
        }
        waiting = [
            kind
            for kind, seen in sorted(self._waiting_since.items(), key=lambda item: item[1])
            if now - seen >= self.patience_s
        ]
        return order_models(loaded, waiting, now, self._turn_s)

    def _last_use(self, kind: CheckpointKind) -> int:
        return self._used.index(kind) if kind in self._used else -1


def always_loaded() -> ModelTurns:
    """Return the turns of a worker whose models are always loaded."""
    return ModelTurns(lambda _kind: 0.0)
