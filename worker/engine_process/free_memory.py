"""Decides what this process does with the memory that it has freed: it keeps it for the next image, or returns it to the system.

An image frees some ten MB with each layer. glibc returns that to the operating system at once and asks for it again in the next
layer. A page that comes back costs a microsecond or more, and an image needs thousands.
"""

import contextlib
import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 32 * 1024 * 1024
"""glibc keeps no larger block, and an image of the built-in model needs no more."""


def keep_free_memory() -> None:
    """Keep up to 32 MB of what this process frees, until `return_free_memory`. Does nothing where the C library is not glibc."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def return_free_memory() -> None:
    """Return what this process has freed. It takes milliseconds. Does nothing where the C library is not glibc."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
