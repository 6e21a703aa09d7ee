"""klein's processes around an engine without a model, which start fast, for attacks that do not concern the engine."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a separate package

from tests.chaos.system import System, running_system
from tests.support.api_client import is_ready, until

ATTACKER = "klein-attacker-key-of-32-characters"
SECOND_ATTACKER = "klein-second-attacker-key-of-32-characters"
VICTIM = "klein-victim-key-of-32-characters--"


class Parts:
    """A running system and clients of its api."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.url = system.url

    def client(self, key: str | None) -> httpx.Client:
        """Open a client with a key, or without one."""
        headers = {"X-API-Key": key} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    @property
    def api(self) -> psutil.Process:
        """The api process."""
        return psutil.Process(self.system.api.process.pid)

    def part(self, name: str) -> psutil.Process | None:
        """Return the process of redis, api, worker or courier."""
        found = next((p for p in self.system.parts if p.name.startswith(name)), None)
        return None if found is None else psutil.Process(found.process.pid)

    def redis_bytes(self) -> int:
        """Return the memory that Redis's data takes."""
        with self.system.connect() as connection:
            return int(connection.info("memory")["used_memory_dataset"])


@contextmanager
def running_parts(**settings: str) -> Iterator[Parts]:
    """Run the processes until the worker is ready."""
    with running_system(1, [ATTACKER, SECOND_ATTACKER, VICTIM], settings=settings) as system:
        parts = Parts(system)
        with parts.client(None) as client:
            until(lambda: is_ready(client), 120)
        yield parts
