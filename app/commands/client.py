"""Asks a running klein over HTTP, for the commands: what can go wrong there is said in one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
import httpx

TIMEOUT_S = 30.0
STREAMS = 5  # how often a stream of events that was cut is taken up again


class Server:
    """One running server and the key to it."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def models(self) -> list[str]:
        """List the slugs that it serves."""
        return [model["slug"] for model in self._json("GET", "/v1/models")]

    def create(self, model: str, given: dict[str, Any]) -> str:
        """Create a prediction and give its id."""
        body = {"model": model, "input": given}
        return str(self._json("POST", "/v1/prediction", json=body)["predictionID"])

    def cancel(self, prediction_id: str) -> None:
        """Cancel a prediction."""
        self._json("POST", f"/v1/prediction/{prediction_id}/cancel")

    def follow(self, prediction_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Follow a prediction: names and data of its events; the last one is `end`."""
        path = f"/v1/prediction/{prediction_id}/events"
        for _ in range(STREAMS):
            with self._client.stream("GET", path, timeout=None) as answer:
                if answer.is_error:
                    answer.read()
                    _refused(answer)
                name = ""
                for line in answer.iter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        name = value
                    elif field == "data":
                        yield name, json.loads(value)
                        if name == "end":
                            return
        raise click.ClickException(
            f"the server stopped telling of {prediction_id}; is it going down?"
        )

    def fetch(self, url: str) -> bytes:
        """Download a picture; its URL needs no key, and may lead to a server that must not see ours."""
        answer = httpx.get(url, timeout=TIMEOUT_S, trust_env=False, follow_redirects=True)
        if answer.is_error:
            _refused(answer)
        return answer.content

    def _json(self, method: str, path: str, **content: Any) -> Any:
        answer = self._client.request(method, path, **content)
        if answer.is_error:
            _refused(answer)
        try:
            return answer.json()
        except ValueError:
            raise click.ClickException(
                f"what answers at {answer.url.copy_with(path='/')} is not klein; see --url and KLEIN_URL"
            ) from None


@contextmanager
def asking(url: str, key: str) -> Iterator[Server]:
    """Ask the server at a URL; what the network does wrong ends the command in one line."""
    try:
        with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=TIMEOUT_S) as client:
            yield Server(client)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise click.ClickException(
            f"no server answers at {url}; start one with `klein up`, or name another with --url or KLEIN_URL"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise click.ClickException(f"{url}: {exc or type(exc).__name__}") from None


def _refused(answer: httpx.Response) -> NoReturn:
    try:
        told = answer.json()
        details = told["details"]
    except (ValueError, KeyError, TypeError):
        raise click.ClickException(f"{answer.url} answered {answer.status_code}") from None
    if isinstance(details, list):
        details = "; ".join(f"{p['field']}: {p['message']}" for p in details)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        details = "name the key with --key or KLEIN_API_KEY"
    raise click.ClickException(": ".join(filter(None, (told.get("error"), details))))
