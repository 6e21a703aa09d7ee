"""An attack that repeats until it is told to stop."""

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

PAUSE_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an attack goes: the server, the attacker's key (None means a stranger), and hosts that never answer."""

    url: str
    key: str | None
    silent_ports: Sequence[int] = ()
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> tuple[str, int]:
        """The server's host and port, for attacks that use a socket."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def headers(self) -> dict[str, str]:
        """The attacker's key as a header."""
        return {"X-API-Key": self.key} if self.key else {}

    def client(self) -> httpx.Client:
        """Open a client with the attacker's key, if it has one."""
        return httpx.Client(
            base_url=self.url, headers=self.headers, timeout=30, trust_env=False, verify=False
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One kind of attack. `run` attacks once and is called again until the target's `stopping` is set."""

    kind: str
    run: Callable[[Target], None]
    is_of_stranger: bool = False  # whether it needs no key
    threads: int = 4


def attack_until_stopped(attacks: Sequence[Attack], target: Target) -> None:
    """Run attacks, each in its threads, until the target's `stopping` is set. Print the kind of each that is over."""

    def repeat(attack: Attack) -> None:
        while not target.stopping.is_set():
            with suppress(httpx.HTTPError, OSError):  # the server may close the connection
                attack.run(target)
            sys.stdout.write(f"{attack.kind}\n")
            sys.stdout.flush()
            target.stopping.wait(PAUSE_S)

    threads = [
        threading.Thread(target=repeat, args=(attack,), name=attack.kind, daemon=True)
        for attack in attacks
        for _ in range(attack.threads)
    ]
    for thread in threads:
        thread.start()
    target.stopping.wait()
