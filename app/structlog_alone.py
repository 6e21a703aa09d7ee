"""Imports structlog without rich, which it would load for coloured tracebacks that klein does not write."""

import sys

_is_hidden = "rich" not in sys.modules
if _is_hidden:
    sys.modules["rich"] = None  # type: ignore[assignment]  # its import fails, as if it were not installed

import structlog  # noqa: E402

if _is_hidden:
    del sys.modules["rich"]

__all__ = ["structlog"]
