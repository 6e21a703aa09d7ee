"""Lets a process that starts collect garbage rarely, and never look again at what the start has made.

Imports make a million objects and hardly any garbage. While they count as young or old objects, a full collection looks at
all of them and stops every thread for a tenth of a second.
"""

import gc

_USUAL = gc.get_threshold()
_RARE = 100_000
"""New objects until Python looks for garbage. By default it does after some hundred, which takes a tenth of a start."""


def collect_rarely() -> None:
    """Begin a start."""
    gc.set_threshold(_RARE, *_USUAL[1:])


def collect_as_usual() -> None:
    """End a start. What exists now lives as long as the process and is not looked at again."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
