"""Calls the API of a running klein server for the client commands."""

import base64
import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn
from urllib.parse import urlencode
from urllib.request import Request

import click

from app.commands import http_client
from app.commands.errors import ServerUnavailable
from app.commands.field_options import name_option

TIMEOUT_S = 30.0
CANCEL_S = 5.0  # someone who pressed Ctrl-C waits for it
SILENCE_S = 60.0  # the server sends something every 15 s
LOST_S = 60.0  # how long to try to reach a server that answered before
RETRY_S = 1.0
HISTORY_PAGE = 100
LINE_MAX_BYTES = http_client.BODY_MAX_BYTES
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
Event = tuple[str, dict[str, Any]]


class Server:
    """A client of one server."""

    def __init__(self, url: str, key: str) -> None:
        self.url = http_client.parse_base_url(url)
        self._headers = {"X-API-Key": key, "User-Agent": "klein"}

    def models(self) -> list[str]:
        """List the slugs of the models that the server offers."""
        try:
            return [str(model["slug"]) for model in self._call("GET", "/v1/models", list)]
        except (KeyError, TypeError):
            self._fail_as_foreign()

    def create(self, model: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Create a prediction. The response holds its id as `predictionID`."""
        body = {"model": model, "input": inputs}
        accepted: dict[str, Any] = self._call("POST", "/v1/prediction", dict, body=body)
        if "predictionID" not in accepted:
            self._fail_as_foreign()
        return accepted

    def get(self, prediction_id: str) -> dict[str, Any]:
        """Return a prediction as the API shows it."""
        prediction: dict[str, Any] = self._call("GET", _path(prediction_id), dict)
        return prediction

    def cancel(self, prediction_id: str) -> None:
        """Cancel a prediction."""
        self._call("POST", f"{_path(prediction_id)}/cancel", dict, timeout_s=CANCEL_S)

    def delete(self, prediction_id: str) -> None:
        """Delete a prediction with everything that belongs to it."""
        request = self._request("DELETE", _path(prediction_id))
        with http_client.send(request, TIMEOUT_S) as response:
            if response.status != http.client.NO_CONTENT:
                self._fail(response)

    def history(self) -> Iterator[dict[str, Any]]:
        """Yield all predictions of the key, newest first."""
        cursor: str | None = ""
        while cursor is not None:
            query = urlencode({"limit": HISTORY_PAGE, "cursor": cursor})
            page = self._call("GET", f"/v1/history?{query}", dict)
            try:
                yield from page["predictions"]
                cursor = page["cursor"]
            except KeyError:
                self._fail_as_foreign()

    def usage(self, days: int) -> list[dict[str, Any]]:
        """Return what the key used, the newest day first."""
        body = self._call("GET", f"/v1/usage?{urlencode({'days': days})}", dict)
        if not isinstance(body.get("usage"), list):
            self._fail_as_foreign()
        rows: list[dict[str, Any]] = body["usage"]
        return rows

    def list(self, **filters: object) -> dict[str, Any]:
        """List predictions, newest first. The response holds them as `executions`."""
        query = urlencode({name: value for name, value in filters.items() if value is not None})
        page: dict[str, Any] = self._call("GET", f"/v1/executions?{query}", dict)
        return page

    def status(self) -> dict[str, Any]:
        """Return the queues and the workers."""
        status: dict[str, Any] = self._call("GET", "/v1/status", dict)
        return status

    def fetch(self, url: str) -> bytes:
        """Download an image. No key is sent: the URL is signed, and may name another server."""
        if url.startswith("data:"):
            return base64.b64decode(url.partition(",")[2])
        with http_client.send(Request(url), TIMEOUT_S, follows=True) as response:  # noqa: S310 -- send opens only http and https
            if response.status != http.client.OK:
                raise click.ClickException(
                    f"{url} responded with {response.status}; does KLEIN_PUBLIC_URL of the server fit?"
                )
            return http_client.read(response)

    def follow(
        self,
        prediction_id: str,
        on_loss: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[Event]:
        """Yield the name and data of each event of a prediction. The last one is `end`.

        A lost connection is opened again for LOST_S. Raises ServerUnavailable after that, and at once if the server never answered.
        """
        answered_at = None
        while True:
            reason = "the server closed the event stream"
            try:
                for name, data in self._events(prediction_id):
                    answered_at = time.monotonic()
                    yield name, data
                    if name == "end":
                        return
            except ServerUnavailable as exc:
                reason = exc.message
                if answered_at is None or time.monotonic() - answered_at > LOST_S:
                    raise
            answered_at = time.monotonic() if answered_at is None else answered_at
            on_loss(reason)
            sleep(RETRY_S)

    def _events(self, prediction_id: str) -> Iterator[Event]:
        request = self._request("GET", f"{_path(prediction_id)}/events")
        with http_client.send(request, SILENCE_S) as response:
            if response.status != http.client.OK:
                self._fail(response)
            name = ""
            try:
                while line := response.readline(LINE_MAX_BYTES):
                    field, _, value = line.decode(errors="replace").rstrip("\r\n").partition(": ")
                    if field == "event":
                        name = value
                    elif field == "data":
                        yield name, json.loads(value)
            except (OSError, http.client.HTTPException) as exc:
                raise ServerUnavailable(f"{self.url}: {exc or type(exc).__name__}") from None
            except ValueError:
                self._fail_as_foreign()

    def _call(
        self,
        method: str,
        path: str,
        kind: type,
        body: dict[str, Any] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        with http_client.send(self._request(method, path, body), timeout_s) as response:
            if response.status != http.client.OK:
                self._fail(response)
            try:
                response_body = json.loads(http_client.read(response))
            except ValueError:
                self._fail_as_foreign()
        if not isinstance(response_body, kind):
            self._fail_as_foreign()
        return response_body

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Request:
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = self._headers | ({} if data is None else {"Content-Type": "application/json"})
        return Request(self.url + path, data=data, headers=headers, method=method)  # noqa: S310 -- parse_base_url checked it

    def _fail(self, response: http_client.Response) -> NoReturn:
        status = response.status
        if location := response.headers.get("Location"):
            raise click.ClickException(
                f"{response.url} redirects to {location}; set KLEIN_URL or --url to that server"
            )
        try:
            error_body = json.loads(http_client.read(response))
            error, details = error_body["error"], error_body["details"]
            if isinstance(details, list):
                details = "; ".join(f"{name_option(p['field'])}: {p['message']}" for p in details)
        except (ValueError, KeyError, TypeError):
            if status in {http.client.NOT_FOUND, http.client.METHOD_NOT_ALLOWED}:
                self._fail_as_foreign()
            error, details = f"{response.url} responded with {status}", ""
        if status == http.client.UNAUTHORIZED:
            details = "set KLEIN_API_KEY or --key to a valid key"
        message = ": ".join(filter(None, (error, details)))
        if status == http.client.TOO_MANY_REQUESTS or status >= http.client.INTERNAL_SERVER_ERROR:
            raise ServerUnavailable(message)
        raise click.ClickException(message)

    def _fail_as_foreign(self) -> NoReturn:
        raise click.ClickException(
            f"the server at {self.url} is not klein; check --url and KLEIN_URL"
        )


def _path(prediction_id: str) -> str:
    if not _ID.fullmatch(prediction_id):
        raise click.BadParameter(f"{prediction_id!r} is not the id of a prediction")
    return f"/v1/prediction/{prediction_id}"
