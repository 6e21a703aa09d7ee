"""Waits for the end of a prediction, with progress on stderr, and handles Ctrl-C and SIGTERM."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import click

from app.commands.client import Server
from app.commands.errors import ServerUnavailable

SIGNALLED = 128  # exit codes of shells: this and the number of the signal
_SCALE = 1000


class _Terminated(BaseException):
    """SIGTERM arrived."""


def wait_for_end(
    server: Server, prediction_id: str, *, is_quiet: bool, cancels: bool
) -> dict[str, Any]:
    """Show the progress until the prediction ends, and return it as the API shows it.

    `cancels`: whether Ctrl-C and SIGTERM cancel the prediction. The command exits with 130 or 143 then.
    """
    with _terminations():
        try:
            return _watch(server, prediction_id, is_quiet=is_quiet)
        except KeyboardInterrupt:
            _stop(server, prediction_id, signal.SIGINT, cancels=cancels)
        except _Terminated:
            _stop(server, prediction_id, signal.SIGTERM, cancels=cancels)
        except ServerUnavailable:
            click.echo(f"\n{_advice(prediction_id)}", err=True)
            raise


def _watch(server: Server, prediction_id: str, *, is_quiet: bool) -> dict[str, Any]:
    def on_loss(reason: str) -> None:
        if not is_quiet:
            click.echo(f"\nconnection lost ({reason}); trying again", err=True)

    if not is_quiet:
        click.echo(f"prediction {prediction_id}", err=True)
    final: dict[str, Any] = {}
    with click.progressbar(
        length=_SCALE, label="waiting", show_eta=False, file=sys.stderr, hidden=is_quiet
    ) as bar:
        for name, data in server.follow(prediction_id, on_loss):
            if (name == "status" and data["status"] == "processing") or name == "progress":
                bar.label = "generating"
                bar.render_progress()
            if name == "loading":
                bar.label = f"loading the model ({data['phase']})"
                bar.render_progress()
            if name == "queue":
                bar.label = _place(data)
                bar.render_progress()
            if name == "progress":
                bar.update(_SCALE * data["step"] // data["steps"] - bar.pos)
            if name == "end":
                final = data
                bar.update(_SCALE - bar.pos)
    return final


def _place(place: dict[str, Any]) -> str:
    wait_s, end_s = place.get("expected_wait_s"), place.get("expected_end_s")
    about = (
        ""
        if wait_s is None or end_s is None
        else f", starts in {wait_s:.0f} s, ends in {end_s:.0f} s"
    )
    return f"waiting at {place.get('position')}{about}"


@contextmanager
def _terminations() -> Iterator[None]:
    def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(server: Server, prediction_id: str, number: int, *, cancels: bool) -> NoReturn:
    text = f"\n{_advice(prediction_id)}"
    if cancels:
        try:
            server.cancel(prediction_id)
            text = f"\ncancelled {prediction_id}"
        except click.ClickException as exc:
            text = f"\ncould not cancel {prediction_id}: {exc.message}"
    click.echo(text, err=True)
    sys.exit(SIGNALLED + number)


def _advice(prediction_id: str) -> str:
    return f"the prediction may go on; `klein wait {prediction_id}` waits for it"
