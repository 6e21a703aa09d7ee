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
from app.commands.progress import Progress
from app.commands.results import SUCCESS

SIGNALLED = 128  # exit codes of shells: this and the number of the signal


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
            click.echo(_advice(prediction_id), err=True)
            raise


def _watch(server: Server, prediction_id: str, *, is_quiet: bool) -> dict[str, Any]:
    progress = None if is_quiet else Progress()

    def on_loss(reason: str) -> None:
        if progress is not None:
            progress.close()
            click.echo(f"connection lost ({reason}); trying again", err=True)

    final: dict[str, Any] = {}
    try:
        if progress is not None:
            click.echo(f"prediction {prediction_id}", err=True)
            progress.show("waiting")
        for name, final in server.follow(prediction_id, on_loss):
            if progress is not None:
                _show(progress, name, final)
    finally:
        if progress is not None:
            progress.close()
    return final


def _show(progress: Progress, name: str, data: dict[str, Any]) -> None:
    if name == "status" and data["status"] == "processing":
        progress.show("generating")
    elif name == "loading":
        progress.show("loading the model", f"({data['phase']})")
    elif name == "queue":
        progress.show("waiting", _place(data))
    elif name == "progress":
        progress.show("generating", step=data["step"], steps=data["steps"])
    elif name == "end" and data["status"] == SUCCESS:
        progress.finish()


def _place(place: dict[str, Any]) -> str:
    wait_s, end_s = place.get("expected_wait_s"), place.get("expected_end_s")
    about = (
        ""
        if wait_s is None or end_s is None
        else f", starts in {wait_s:.0f} s, ends in {end_s:.0f} s"
    )
    return f"at {place.get('position')}{about}"


@contextmanager
def _terminations() -> Iterator[None]:
    """Raise _Terminated in the body if SIGTERM arrives."""

    def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(server: Server, prediction_id: str, number: int, *, cancels: bool) -> NoReturn:
    text = _advice(prediction_id)
    if cancels:
        try:
            server.cancel(prediction_id)
            text = f"cancelled {prediction_id}"
        except click.ClickException as exc:
            text = f"could not cancel {prediction_id}: {exc.message}"
    click.echo(text, err=True)
    sys.exit(SIGNALLED + number)


def _advice(prediction_id: str) -> str:
    return f"the prediction may go on; `klein wait {prediction_id}` waits for it"
