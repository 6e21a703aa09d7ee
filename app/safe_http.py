"""Sends requests to URLs that callers name, only to public addresses unless the operator allows others.

A name is resolved once and the connection goes to the address that was checked (`ssrfguard`). Every redirect is
checked like the first URL. Nothing is read beyond a size and a time that the caller of this module sets.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, BinaryIO

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

from app.dns import Answers, DnsLookup

URL_MAX = 2048  # characters
PUBLIC_PORTS = frozenset({80, 443, 8080, 8443})
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The addresses of a host, not yet checked. None if it could not be resolved."""

    host: str
    port: int
    answers: tuple[Any, ...] = ()  # as `socket.getaddrinfo` returns them

    @property
    def addresses(self) -> frozenset[str]:
        """Return the addresses with their port."""
        return frozenset(f"{answer[4][0]} {self.port}" for answer in self.answers)

    def resolve(self, host: str, port: int, *_: object) -> Answers:
        """Answer in place of `socket.getaddrinfo`, for this host only. Raises OSError."""
        if not self.answers or (host, port) != (self.host, self.port):
            raise socket.gaierror(socket.EAI_NONAME, "the host name was not resolved")
        return list(self.answers)


class SafeHttp:
    """Sends requests. Hosts, addresses and networks in `allow_hosts` may be private."""

    def __init__(
        self,
        allow_hosts: tuple[str, ...],
        resolver: Resolver = socket.getaddrinfo,
        public_ports: frozenset[int] = PUBLIC_PORTS,
        lookup: DnsLookup | None = None,
    ) -> None:
        self._names, networks = _parse_hosts(allow_hosts)
        self._lookup = lookup or DnsLookup(look_up=resolver)
        self._public_policy = Policy(
            allowed_networks=networks,
            allowed_ports=public_ports,
            denied_networks=_NOT_PUBLIC,
            max_url_length=URL_MAX,
        )
        self._tls = ssl.create_default_context()

    def permits_address(self, address: str) -> bool:
        """Return whether a host that is not in `allow_hosts` may have this address."""
        return self._public_policy.permits_address(address)

    async def resolve(self, url: str, owner: str) -> Resolution:
        """Resolve the host of a URL. Raises LookupsBusy if `owner` has too many look-ups in progress.

        A URL that is invalid or cannot be resolved has no addresses, and `send` then raises Unreachable.
        """
        try:
            return await self._resolve(self._check(url)[1], owner, is_waiting=False)
        except (SSRFGuardError, OSError, ValueError):
            return Resolution(host="", port=0)

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
        owner: str = "",
        resolution: Resolution | None = None,
        into: BinaryIO | None = None,
        slots: Callable[[frozenset[str]], AbstractAsyncContextManager[None]] | None = None,
    ) -> Reply:
        """Send one request and read at most `max_bytes` of the reply, or write them to `into`.

        The look-ups count against the limit of `owner`. `resolution` is that of `url` if it has been resolved before.
        `slots` is entered with the addresses of each host while a request to it runs.
        Raises Unreachable or LookupsBusy.
        """
        partial: list[Reply] = []
        sent_headers = {**headers, "Accept-Encoding": "identity"}
        try:
            async with asyncio.timeout(within_s):
                for _ in range(redirects + 1):
                    partial.clear()
                    if resolution is None:
                        resolution = await self._resolve(self._check(url)[1], owner)
                    async with slots(resolution.addresses) if slots else nullcontext():
                        redirect = await self._once(
                            httpx.Request(method, url, headers=sent_headers, content=content),
                            max_bytes,
                            within_s,
                            partial,
                            resolution,
                            into,
                        )
                    resolution = None
                    if redirect is None or not redirects:
                        return partial[-1]
                    url = redirect
        except (httpx.HTTPError, httpx.InvalidURL, SSRFGuardError, OSError, ValueError):
            if partial:
                return partial[-1]
        raise Unreachable

    async def _resolve(self, target: Target, owner: str, *, is_waiting: bool = True) -> Resolution:
        name = (target.host, target.port, 0, socket.SOCK_STREAM, 0)
        if target.is_literal_address:  # asks no name server
            answers: Answers = list(socket.getaddrinfo(*name, socket.AI_NUMERICHOST))
        else:
            answers = await self._lookup(owner, *name, 0, is_waiting=is_waiting)
        return Resolution(host=target.host, port=target.port, answers=tuple(answers))

    async def _once(  # noqa: PLR0913 -- what `send` passes on
        self,
        request: httpx.Request,
        max_bytes: int,
        within_s: float,
        partial: list[Reply],
        resolution: Resolution,
        into: BinaryIO | None,
    ) -> str | None:
        """Send one request, put the response into `partial`, and return the target of a redirect."""
        policy, _ = self._check(str(request.url))
        async with (
            AsyncClient(
                policy=policy,
                resolver=resolution.resolve,
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
                await _read(response, max_bytes, partial, into)
            finally:
                await response.aclose()
        return target

    def _check(self, url: str) -> tuple[Policy, Target]:
        """Choose the policy for a URL, and check it except for its addresses. Raises BlockedURLError."""
        policy = self._policy_for(check_syntax(url))
        return policy, policy.check_url(url)

    def _policy_for(self, target: Target) -> Policy:
        if target.host.rstrip(".").lower() in self._names:
            return _trusted()
        return (
            self._public_policy
            if target.port in self._public_policy.allowed_ports
            else self._private_policy
        )

    @cached_property
    def _private_policy(self) -> Policy:
        networks = self._public_policy.allowed_networks
        return replace(_trusted(), allowed_networks=networks, denied_networks=_NOWHERE)


@cache
def _trusted() -> Policy:
    """Return the policy that permits every address and port. Its ports take 4 MB, so it is made for the first URL."""
    ports = frozenset(range(1, 65536))
    return Policy(allowed_networks=_EVERYTHING, allowed_ports=ports, max_url_length=URL_MAX)


def check_syntax(url: str) -> Target:
    """Check a URL without regard to its addresses. Raises BlockedURLError."""
    return _trusted().check_url(url)


async def _read(
    response: httpx.Response, max_bytes: int, partial: list[Reply], into: BinaryIO | None
) -> None:
    body = bytearray()
    if into is not None:  # an earlier response was a redirect
        into.seek(0)
        into.truncate()

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
        size = 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if into is None:
                body += chunk
            else:
                into.write(chunk)
            if size > max_bytes:
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
