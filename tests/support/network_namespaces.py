"""Separate hosts on one machine: Linux network namespaces, each with an address, joined by a switch whose ports can be disconnected."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.chaos.system import ROOT, Part
from tests.support import processes

NEEDS = "several hosts need network namespaces: root, CAP_NET_ADMIN and iproute2's `ip`"


class NoNamespaces(Exception):
    """This machine does not allow creating network namespaces."""


def ip(*arguments: str) -> None:
    result = processes.run(["ip", *arguments])
    if result.returncode:
        raise NoNamespaces(f"ip {' '.join(arguments)}: {result.stderr.strip()}")


class Host:
    """A namespace with one link to the switch. Its processes reach the others only by network."""

    def __init__(self, network: "Network", name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.namespace = f"{network.name}-{name}"
        self._switch = network.switch

    def start(self, command: list[str], **environ: str) -> Part:
        """Start a process in this namespace, and restart it whenever it exits."""
        inside = ["ip", "netns", "exec", self.namespace, *command]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("KLEIN_", "REDIS_"))}
        return Part(self.name, inside, clean | {"PYTHONPATH": str(ROOT)} | environ)

    def python(self, *arguments: str, **environ: str) -> Part:
        return self.start([sys.executable, "-m", *arguments], **environ)

    def cut(self) -> None:
        """Disconnect the host from the switch. What it sends is lost, and no connection is closed."""
        ip("-n", self._switch, "link", "set", "dev", self.name, "down")

    def heal(self) -> None:
        ip("-n", self._switch, "link", "set", "dev", self.name, "up")


class Network:
    """A switch (a bridge in a namespace of its own) and its hosts."""

    def __init__(self, stack: ExitStack) -> None:
        self.name = f"klein{os.getpid()}"
        self.switch = f"{self.name}-switch"
        self._stack = stack
        self._third = os.getpid() % 128
        self._hosts = self._cables = 0
        self._add(self.switch)
        ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.switch, "link", "set", "bridge", "up")

    def add(self, name: str) -> Host:
        """Add a host. Addresses are from 198.18.0.0/15, which RFC 2544 reserves for tests."""
        self._hosts += 1
        host = Host(self, name, f"198.18.{self._third}.{self._hosts}")
        self._add(host.namespace)
        ip("-n", self.switch, "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)  # fmt: skip
        ip("-n", self.switch, "link", "set", "dev", name, "master", "bridge", "up")
        ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        ip("-n", host.namespace, "link", "set", "eth0", "up")
        return host

    def lead_in(self, host: Host) -> str:
        """Connect a host directly to this process, and return its address there."""
        self._cables += 1
        cable = f"{self.name}.{self._cables}"
        here, there = (f"198.19.{self._third}.{4 * self._cables + end}" for end in (1, 2))
        ip("link", "add", "name", cable, "type", "veth", "peer", "name", "eth1", "netns", host.namespace)  # fmt: skip
        ip("address", "add", f"{here}/30", "dev", cable)
        ip("link", "set", "dev", cable, "up")
        ip("-n", host.namespace, "address", "add", f"{there}/30", "dev", "eth1")
        ip("-n", host.namespace, "link", "set", "eth1", "up")
        return there

    def _add(self, namespace: str) -> None:
        ip("netns", "add", namespace)
        self._stack.callback(lambda: ip("netns", "delete", namespace))
        ip("-n", namespace, "link", "set", "lo", "up")


@contextmanager
def network() -> Iterator[Network]:
    """Create a network and remove it afterwards. Skips the test if that is not possible."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip(NEEDS)
    with ExitStack() as stack:
        try:
            new_network = Network(stack)
        except NoNamespaces as exc:
            pytest.skip(f"{NEEDS}; here: {exc}")
        yield new_network
