"""Chooses ports for listeners that must hear nothing from the clients of other tests."""

import errno
import random
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def bind_to_own_port(bind: Callable[[int], T]) -> T:
    """Bind a listener to a port that the system gives nobody.

    It hands out ports from 32,768 on, again and again, so a client of an earlier test may still try one of those.
    """
    while True:
        try:
            return bind(random.randrange(20_000, 32_000))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
