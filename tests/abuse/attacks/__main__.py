"""Runs attacks in a process of their own, until it is ended: `python -m tests.abuse.attacks URL KEY PORTS KIND…`.

Its priority is the lowest: an attacker has machines of its own, and must not take the processor from the server here.
"""

import os
import sys

from tests.abuse.attacks import ATTACKS
from tests.abuse.attacks.attack import Target, attack_until_stopped


def main() -> None:
    url, key, ports, *kinds = sys.argv[1:]
    os.nice(19)
    target = Target(
        url=url, key=key or None, silent_ports=[int(port) for port in ports.split(",") if port]
    )
    attack_until_stopped([attack for attack in ATTACKS if attack.kind in kinds], target)


if __name__ == "__main__":
    main()
