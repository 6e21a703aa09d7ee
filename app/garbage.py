"""Lets a process that starts collect garbage rarely: imports make a million objects and hardly any garbage."""

import gc

_USUAL = gc.get_threshold()
_RARE = 100_000
"""New objects until Python looks for garbage. By default it does after some hundred, which takes a tenth of a start."""


def collect_rarely() -> None:
    """Begin a start."""
    gc.set_threshold(_RARE, *_USUAL[1:])


def collect_as_usual() -> None:
    """End a start."""
    gc.set_threshold(*_USUAL)
