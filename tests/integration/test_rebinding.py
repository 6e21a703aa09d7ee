"""Names that move between two look-ups, by a real name server that the system's own resolver asks."""

import json
import shutil
import sys

import pytest

from tests.support import processes
from tests.support.dns_rebinding import PUBLIC, TRIES, ZONE

UNSHARED = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
NEEDS = "a name server of one's own needs Linux namespaces: util-linux's `unshare`, iproute2's `ip`"


@pytest.fixture(scope="module")
def told():
    """Play in a world of its own, and give what came of each name."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip(NEEDS)
    probe = processes.run([*UNSHARED, "true"])
    if probe.returncode:
        pytest.skip(f"{NEEDS}; here: {probe.stderr.strip()}")
    command = [*UNSHARED, sys.executable, "-m", "tests.support.dns_rebinding"]
    played = processes.run(command)
    assert played.returncode == 0, played.stderr
    return json.loads(played.stdout)


pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("name", ["moving", "metadata", "alias", "again"])
def test_a_name_that_moves_leads_nowhere_inside(told, name):
    """A name that is public at one look-up and inside at the next is fetched from the public host or not at all."""
    assert set(told[name]["answers"]) == {"200", "unreachable"}
    assert told[name]["seen"] == [PUBLIC]
    assert told[name]["asked"] == TRIES


@pytest.mark.parametrize("name", ["inside", "mixed", "six", "both"])
def test_a_name_that_is_inside_is_not_connected_to(told, name):
    """A name with any address inside, in IPv6 or in disguise too, is refused before any connection."""
    assert set(told[name]["answers"]) == {"unreachable"}
    assert told[name]["seen"] == []
    assert told[name]["asked"] == TRIES


def test_who_looks_twice_is_led_inside(told):
    """A client that checks a name and then connects to it is: the world above does move names."""
    assert told["naive"] == {"answers": ["200"], "seen": ["127.0.0.1"], "asked": 2}
    assert told.keys() == ZONE.keys()
