"""Limits the requests of a client address that need or have no valid key. Those with a valid key have limits of their own."""

import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.types import Scope

from app.predictions.errors import TooManyRequests

PER_SECOND = 20.0
BURST = 300.0
MAX_ADDRESSES = 10_000  # that are remembered
RETRY_AFTER_S = 1
_IPV6_NETWORK = 64  # bits: a host may use any address of its network
_OPEN = re.compile(r"(/[a-z]+)?/(metrics|readyz|openapi\.json|docs|v1/models?)(/|$)")


class AddressBudget:
    """A token bucket for each client address. Use it on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def take(self, connection: HTTPConnection) -> None:
        """Count a request of an address. Raises TooManyRequests."""
        address = network_of(connection.client.host if connection.client else "")
        now = self._clock()
        tokens, since = self._buckets.pop(address, (BURST, now))
        tokens = min(BURST, tokens + (now - since) * PER_SECOND)
        is_over = tokens < 1
        self._buckets[address] = (tokens if is_over else tokens - 1), now
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        if is_over:
            raise TooManyRequests(
                "too many requests without a valid API key come from this address; send fewer",
                retry_after_s=RETRY_AFTER_S,
            )

    def __len__(self) -> int:
        return len(self._buckets)


def is_open(scope: Scope) -> bool:
    """Return whether a request is for a route that needs no key and costs more than a file."""
    return scope["method"] in {"GET", "HEAD"} and _OPEN.match(scope["path"]) is not None


def network_of(address: str) -> str:
    """Return what counts as one client: an address, or the network of one in IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
    return address
