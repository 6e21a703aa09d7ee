"""Names the formats of the logs. `logs` writes them."""

import sys
from enum import StrEnum


class LogFormat(StrEnum):
    """How an event is written."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"

    def settle(self) -> "LogFormat":
        """Decide for `auto`: text on a terminal, else JSON."""
        if self is not LogFormat.AUTO:
            return self
        return LogFormat.TEXT if sys.stderr.isatty() else LogFormat.JSON
