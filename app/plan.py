"""Says what `klein up` starts. `app.planning` makes the plan, and `app.up` follows it without reading settings."""

import json
from dataclasses import asdict, dataclass
from typing import Self

from app.log_format import LogFormat

REDIS_TRIES = 100  # to reach Redis, embedded or not
REDIS_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one `klein up` starts and says. All values can be sent as JSON."""

    environ: dict[str, str]
    """Variables of all processes, beside those of `klein up`."""
    courier_environ: dict[str, str]
    """Variables of the courier alone."""
    log_format: LogFormat
    stop_s: float
    """Time after which a process that was told to stop is killed."""
    address: str
    """URL of the API on this machine."""
    redis_command: list[str]
    """Starts the embedded Redis. Empty if Redis runs already."""
    redis_socket: str
    welcome: str
    """Is shown when everything is ready. It may contain a new key."""

    def to_json(self) -> str:
        """Write the plan for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read the plan that another process has written."""
        values = json.loads(text)
        return cls(**values | {"log_format": LogFormat(values["log_format"])})
