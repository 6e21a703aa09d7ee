"""Waits for the end of a prediction, with progress on stderr, and handles Ctrl-C and SIGTERM."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from app.commands.client import Server
from app.commands.errors import ServerUnavailable
from app.commands.progress import Progress
from app.commands.results import SUCCESS

SIGNALLED = 128  # exit codes of shells: this and the number of the signal


class _Stopped(BaseException):
    """SIGINT or SIGTERM arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Signals:
    """Handles SIGINT and SIGTERM. The first one is held until `release`, and any other raises _Stopped at once."""

    def __init__(self) -> None:
        self._is_held = True
        self._arrived: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Hold a signal, or raise _Stopped."""
        if not self._is_held or self._arrived is not None:
            raise _Stopped(number)
        self._arrived = number

    def release(self) -> None:
        """Hold no more signals. Raises _Stopped if one has arrived."""
        self._is_held = False
        if self._arrived is not None:
            raise _Stopped(self._arrived)


def create_and_wait(
    server: Server, create: Callable[[], dict[str, Any]], *, is_quiet: bool
) -> dict[str, Any]:
    """Create a prediction, show its progress until it ends, and return it as the API shows it.

    Ctrl-C and SIGTERM cancel it, also those that arrive before the server has told its id. A second one ends the command at once.
    The command exits with 130 or 143 then.
    """
    with _signals() as signals:
        prediction_id = create()["predictionID"]
        return _wait(server, prediction_id, signals, is_quiet=is_quiet, cancels=True)


def wait_for_end(server: Server, prediction_id: str, *, is_quiet: bool) -> dict[str, Any]:
    """Show the progress until the prediction ends, and return it as the API shows it.

    Ctrl-C and SIGTERM end the command with 130 or 143. The prediction goes on.
    """
    with _signals() as signals:
        return _wait(server, prediction_id, signals, is_quiet=is_quiet, cancels=False)


def _wait(
    server: Server, prediction_id: str, signals: _Signals, *, is_quiet: bool, cancels: bool
) -> dict[str, Any]:
    try:
        signals.release()
        return _watch(server, prediction_id, is_quiet=is_quiet)
    except _Stopped as stopped:
        click.echo(_cancel(server, prediction_id) if cancels else _advice(prediction_id), err=True)
        raise _Stopped(stopped.number) from None
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
def _signals() -> Iterator[_Signals]:
    """Handle SIGINT and SIGTERM in the body, and exit as shells do if they stop it. A signal that is ignored stays so."""
    signals = _Signals()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signals.handle)
    try:
        yield signals
    except _Stopped as stopped:
        sys.exit(SIGNALLED + stopped.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cancel(server: Server, prediction_id: str) -> str:
    """Cancel a prediction, and return what to say about it."""
    try:
        server.cancel(prediction_id)
    except click.ClickException as exc:
        return f"could not cancel {prediction_id}: {exc.message}"
    return f"cancelled {prediction_id}"


def _advice(prediction_id: str) -> str:
    return f"the prediction may go on; `klein wait {prediction_id}` waits for it"
