"""Sends requests to URLs that callers name, only to public addresses unless the operator allows others.

A name is resolved once and the connection goes to the address that was checked (`ssrfguard`); every redirect is
checked like the first URL. Nothing is read beyond a size and a time that the caller of this module sets.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace

import httpx
from ssrfguard import (
    DEFAULT_DENIED,
    AddressTable,
    Block,
    Policy,
    Reach,
    Resolver,
    SSRFGuardError,
    Target,
)
from ssrfguard.httpx import AsyncClient

from app.dns import DnsLookup

URL_MAX = 2048  # characters
PUBLIC_PORTS = frozenset({80, 443, 8080, 8443})
_ANY_PORT = frozenset(range(1, 65536))
_EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_AZURE = Block(
    ipaddress.ip_network("168.63.129.16/32"), "Azure wire server", "no RFC", Reach.DENIED
)
# RFC 4291: only 2000::/3 is global unicast. The longest prefix counts, so the table's own rows stand above these:
# without them it let ::ffff:0:127.0.0.1 (RFC 2765) out.
_UNASSIGNED = Block(ipaddress.ip_network("::/0"), "not global unicast", "RFC4291", Reach.DENIED)
_UNICAST = Block(ipaddress.ip_network("2000::/3"), "global unicast", "RFC4291", Reach.PERMITTED)
_NOT_PUBLIC = AddressTable((*DEFAULT_DENIED.blocks, _AZURE, _UNASSIGNED, _UNICAST))
_NOWHERE = AddressTable(tuple(Block(n, "everything", "-", Reach.DENIED) for n in _EVERYTHING))
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Unreachable(Exception):
    """The host cannot be reached, or this server may not reach it."""

    # One text for denied, refused and timed out, so that it does not reveal open ports.


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response, or the part of it that was read."""

    status: int
    is_encoded: bool  # compressed, against the request
    body: bytes
    is_whole: bool  # neither cut at the size limit nor interrupted


class SafeHttp:
    """Sends requests; hosts, addresses and networks in `allow_hosts` may be private."""

    def __init__(
        self,
        allow_hosts: tuple[str, ...],
        resolver: Resolver | None = None,
        public_ports: frozenset[int] = PUBLIC_PORTS,
    ) -> None:
        self._names, networks = _parse_hosts(allow_hosts)
        self._resolver = resolver or DnsLookup()
        self._trusted = Policy(
            allowed_networks=_EVERYTHING, allowed_ports=_ANY_PORT, max_url_length=URL_MAX
        )
        self._public = replace(
            self._trusted,
            allowed_networks=networks,
            allowed_ports=public_ports,
            denied_networks=_NOT_PUBLIC,
        )
        self._private = replace(self._trusted, allowed_networks=networks, denied_networks=_NOWHERE)
        self._tls = ssl.create_default_context()

    def permits_address(self, address: str) -> bool:
        """Return whether a host that is not in `allow_hosts` may have this address."""
        return self._public.permits_address(address)

    async def send(  # noqa: PLR0913 -- one argument a part of the request
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes = b"",
        max_bytes: int,
        within_s: float,
        redirects: int = 0,
    ) -> Reply:
        """Send one request and read at most `max_bytes` of the reply. Raises Unreachable."""
        partial: list[Reply] = []
        sent_headers = {**headers, "Accept-Encoding": "identity"}
        try:
            async with asyncio.timeout(within_s):
                for _ in range(redirects + 1):
                    redirect = await self._once(
                        httpx.Request(method, url, headers=sent_headers, content=content),
                        max_bytes,
                        within_s,
                        partial,
                    )
                    if redirect is None or not redirects:
                        return partial[-1]
                    url = redirect
        except (httpx.HTTPError, httpx.InvalidURL, SSRFGuardError, OSError, ValueError):
            if partial:
                return partial[-1]
        raise Unreachable

    async def _once(
        self, request: httpx.Request, max_bytes: int, within_s: float, partial: list[Reply]
    ) -> str | None:
        """Send one request, put the response into `partial`, and return the target of a redirect."""
        partial.clear()
        policy = self._policy_for(self._trusted.check_url(str(request.url)))
        async with (
            AsyncClient(
                policy=policy,
                resolver=self._resolver,
                verify=self._tls,
                trust_env=False,
                timeout=within_s,
                follow_redirects=False,
            ) as client,
        ):
            response = await client.send(request, stream=True)
            try:
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    target = str(request.url.join(response.headers["location"]))
                else:
                    target = None
                await _read(response, max_bytes, partial)
            finally:
                await response.aclose()
        return target

    def _policy_for(self, target: Target) -> Policy:
        if target.host.rstrip(".").lower() in self._names:
            return self._trusted
        return self._public if target.port in self._public.allowed_ports else self._private


async def _read(response: httpx.Response, max_bytes: int, partial: list[Reply]) -> None:
    body = bytearray()

    def record(*, is_whole: bool) -> None:
        partial[:] = [
            Reply(
                status=response.status_code,
                is_encoded="content-encoding" in response.headers,
                body=bytes(body[:max_bytes]),
                is_whole=is_whole,
            )
        ]

    record(is_whole=False)
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > max_bytes:
                break
        else:
            record(is_whole=True)
    finally:
        if not partial[0].is_whole:
            record(is_whole=False)


def _parse_hosts(
    allow_hosts: tuple[str, ...],
) -> tuple[frozenset[str], tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]]:
    names, networks = set(), []
    for entry in allow_hosts:
        try:
            networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            names.add(entry.rstrip(".").lower())
    return frozenset(names), tuple(networks)
