"""Names whose address changes between two look-ups, served by a real name server through the system's resolver."""

import json
import shutil
import sys

import pytest

from tests.support import processes
from tests.support.dns_rebinding import PUBLIC, TRIES, ZONE

UNSHARED = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
NEEDS = "a name server of one's own needs Linux namespaces: util-linux's `unshare`, iproute2's `ip`"


@pytest.fixture(scope="module")
def results():
    """Run the attacks in network namespaces, and return the result of each name."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip(NEEDS)
    probe = processes.run([*UNSHARED, "true"])
    if probe.returncode:
        pytest.skip(f"{NEEDS}; here: {probe.stderr.strip()}")
    command = [*UNSHARED, sys.executable, "-m", "tests.support.dns_rebinding"]
    played = processes.run(command)
    assert played.returncode == 0, played.stderr
    return json.loads(played.stdout)


@pytest.mark.parametrize("name", ["moving", "metadata", "alias", "again"])
def test_rebound_name_is_not_fetched(results, name):
    """A name that is public at one look-up and internal at the next is fetched from the public host or not at all."""
    assert set(results[name]["answers"]) == {"200", "unreachable"}
    assert results[name]["seen"] == [PUBLIC]
    assert results[name]["asked"] == TRIES


@pytest.mark.parametrize("name", ["inside", "mixed", "six", "both"])
def test_private_name_is_not_connected_to(results, name):
    """A name with any internal address, also in IPv6 or an encoded form, is refused before any connection."""
    assert set(results[name]["answers"]) == {"unreachable"}
    assert results[name]["seen"] == []
    assert results[name]["asked"] == TRIES


def test_client_that_resolves_twice_is_rebound(results):
    """A client that checks a name and then connects to it reaches the internal host, so the tests above can fail."""
    assert results["naive"] == {"answers": ["200"], "seen": ["127.0.0.1"], "asked": 2}
    assert results.keys() == ZONE.keys()
