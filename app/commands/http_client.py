"""Sends HTTP requests with the standard library, because importing httpx takes as long as `klein queue` may take.

Proxy variables count, except for loopback addresses. Every error becomes one line.
"""

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

import click

from app.commands.errors import ServerUnavailable

_START = "start one with `klein up`, or set KLEIN_URL or --url"
BODY_MAX_BYTES = 64 * 1024 * 1024
Response = http.client.HTTPResponse


def parse_base_url(text: str) -> str:
    """Return the base URL of a server without a trailing slash. Raises click.BadParameter."""
    try:
        parts = urlsplit(text)
        is_valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise click.BadParameter(
            f"{text} is not the URL of a server; write one like http://127.0.0.1:8000",
            param_hint="--url or KLEIN_URL",
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise click.BadParameter(
            "leave out user, password, ? and # in the URL of a server",
            param_hint="--url or KLEIN_URL",
        )
    return parts._replace(path=quote(parts.path.rstrip("/"), safe="/%")).geturl()


def send(request: urllib.request.Request, timeout_s: float, *, follows: bool = False) -> Response:
    """Send a request and return the response with any status. Raises ServerUnavailable.

    `follows`: whether to follow redirects, which repeat the request's headers.
    """
    url = request.full_url
    proxies = _proxies_for(urlsplit(url).hostname or "")
    proxy = proxies.get(request.type, "")
    if "://" in proxy and not proxy.startswith(("http://", "https://")):
        raise click.ClickException(
            f"the proxy {_without_password(proxy)} is not an HTTP proxy; correct the proxy variables"
        )
    try:
        response: Response = _opener(proxies, follows=follows).open(request, timeout=timeout_s)
    except urllib.error.HTTPError as exc:  # only if redirects are followed
        return exc  # type: ignore[return-value]  # it is a response as well
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise ServerUnavailable(_describe(exc, url, proxy)) from None
    return response


def read(response: Response) -> bytes:
    """Read a whole body of at most BODY_MAX_BYTES. Raises ServerUnavailable if it is cut off."""
    url = response.url
    try:
        body = response.read(BODY_MAX_BYTES + 1)
    except (OSError, http.client.HTTPException) as exc:
        raise ServerUnavailable(_describe(exc, url)) from None
    if len(body) > BODY_MAX_BYTES:
        raise click.ClickException(f"{url} sends more than {BODY_MAX_BYTES} bytes")
    if len(body) < int(response.headers.get("Content-Length") or 0):
        raise ServerUnavailable(f"{url}: the connection ended in the middle of the response")
    return body


def _opener(proxies: dict[str, str], *, follows: bool) -> urllib.request.OpenerDirector:
    # not build_opener: it also opens file: and ftp: URLs
    opener = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.ProxyHandler(proxies),
        urllib.request.UnknownHandler(),
        _Handler(),
    ]
    if follows:
        handlers += [
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
        ]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


class _Connection(http.client.HTTPConnection):
    """A connection that reads the response even if the server refuses the body before it has arrived."""

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request, as much of it as the server takes."""
        with suppress(BrokenPipeError, ConnectionResetError):
            super().request(*args, **options)


class _TlsConnection(_Connection, http.client.HTTPSConnection):
    """The same with TLS."""


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens http and https URLs. It loads the certificates, which takes long, only when it must."""

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def http_open(self, request: urllib.request.Request) -> Response:
        """Open a URL without TLS."""
        return self.do_open(_Connection, request)

    def https_open(self, request: urllib.request.Request) -> Response:
        """Open a URL with TLS."""
        context = ssl.create_default_context()
        if not context.cert_store_stats()["x509_ca"]:  # as in the Python of python.org for macOS
            import certifi  # noqa: PLC0415 -- rarely needed

            context.load_verify_locations(certifi.where())
        return self.do_open(_TlsConnection, request, context=context)


def _proxies_for(host: str) -> dict[str, str]:
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if is_loopback or urllib.request.proxy_bypass(host):
        return {}
    proxies = urllib.request.getproxies()
    if general := proxies.pop("all", None):
        proxies = {"http": general, "https": general} | proxies
    return proxies


def _describe(exc: Exception, url: str, proxy: str = "") -> str:
    reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
    server = urlsplit(url)._replace(path="", query="").geturl()
    where = f"{server} (through the proxy {_without_password(proxy)})" if proxy else server
    match reason:
        case ConnectionRefusedError():
            text = f"no server answers at {where}; "
            advice = "correct the proxy variables" if proxy else _START
            return text + advice
        case socket.gaierror():
            text = "the host is unknown; check KLEIN_URL, --url and the network"
        case TimeoutError():
            text = "no response in time"
        case ssl.SSLCertVerificationError():
            text = (
                f"the certificate is not valid ({reason.verify_message}); "
                "set SSL_CERT_FILE to the certificate of your own authority"
            )
        case BrokenPipeError() | ConnectionResetError() | http.client.RemoteDisconnected():
            text = "the server closed the connection; is the request too large for it?"
        case ssl.SSLError():
            text = f"TLS failed ({reason.reason}); does the URL begin with http://?"
        case _:
            text = str(reason).strip() or type(reason).__name__
    return f"{where}: {text}"


def _without_password(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
