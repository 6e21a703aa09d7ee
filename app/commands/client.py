"""Calls a running klein server over HTTP. Every error becomes one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
import httpx

TIMEOUT_S = 30.0
STREAMS = 5  # most connections for one event stream


class Server:
    """A client of one server."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def models(self) -> list[str]:
        """List the slugs of the models that the server offers."""
        return [model["slug"] for model in self._json("GET", "/v1/models")]

    def create(self, model: str, inputs: dict[str, Any]) -> str:
        """Create a prediction and return its id."""
        body = {"model": model, "input": inputs}
        return str(self._json("POST", "/v1/prediction", json=body)["predictionID"])

    def cancel(self, prediction_id: str) -> None:
        """Cancel a prediction."""
        self._json("POST", f"/v1/prediction/{prediction_id}/cancel")

    def follow(self, prediction_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name and data of each event of a prediction. The last one is `end`."""
        path = f"/v1/prediction/{prediction_id}/events"
        for _ in range(STREAMS):
            with self._client.stream("GET", path, timeout=None) as response:
                if response.is_error:
                    response.read()
                    _fail(response)
                name = ""
                for line in response.iter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        name = value
                    elif field == "data":
                        yield name, json.loads(value)
                        if name == "end":
                            return
        raise click.ClickException(
            f"the server ended the event stream of {prediction_id} {STREAMS} times; is it shutting down?"
        )

    def fetch(self, url: str) -> bytes:
        """Download an image. No key is sent: the URL is signed, and may name another server."""
        response = httpx.get(url, timeout=TIMEOUT_S, trust_env=False, follow_redirects=True)
        if response.is_error:
            _fail(response)
        return response.content

    def _json(self, method: str, path: str, **content: Any) -> Any:
        response = self._client.request(method, path, **content)
        if response.is_error:
            _fail(response)
        try:
            return response.json()
        except ValueError:
            raise click.ClickException(
                f"the server at {response.url.copy_with(path='/')} is not klein; check --url and KLEIN_URL"
            ) from None


@contextmanager
def connect(url: str, key: str) -> Iterator[Server]:
    """Connect to the server at a URL. Raises click.ClickException for a network error in the body."""
    try:
        with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=TIMEOUT_S) as client:
            yield Server(client)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise click.ClickException(
            f"no server answers at {url}; start one with `klein up`, or set KLEIN_URL or --url"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise click.ClickException(f"{url}: {exc or type(exc).__name__}") from None


def _fail(response: httpx.Response) -> NoReturn:
    try:
        error_body = response.json()
        details = error_body["details"]
    except (ValueError, KeyError, TypeError):
        raise click.ClickException(
            f"{response.url} responded with {response.status_code}"
        ) from None
    if isinstance(details, list):
        details = "; ".join(f"{p['field']}: {p['message']}" for p in details)
    if response.status_code == httpx.codes.UNAUTHORIZED:
        details = "set KLEIN_API_KEY or --key to a valid key"
    raise click.ClickException(": ".join(filter(None, (error_body.get("error"), details))))
