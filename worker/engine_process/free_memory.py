"""Returns free memory to the operating system. glibc keeps what is free between blocks that are in use."""

import contextlib
import ctypes
import sys


def return_free_memory() -> None:
    """Return what this process has freed. It takes milliseconds. Does nothing where the C library is not glibc."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
