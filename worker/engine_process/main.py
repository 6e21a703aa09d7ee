"""The engine's own process: loads the weights, then draws what comes over the socket.

It holds no credentials, opens no network, and ends with the worker that started it.
"""

import argparse
import contextlib
import ctypes
import faulthandler
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

from app.predictions.prediction import Cause
from worker.engine_process.protocol import (
    Broken,
    Cancel,
    Done,
    EngineConnection,
    Failed,
    Generate,
    Loading,
    Preview,
    Ready,
    Step,
    Stopped,
)
from worker.engines import (
    Cancelled,
    DeviceLost,
    Engine,
    OnPreview,
    Picture,
    Result,
    Say,
    Tuning,
    open_engine,
)
from worker.engines.errors import EngineError, RequestFailed

EXIT_BROKEN = 78
EXIT_DEVICE_LOST = 86
_PR_SET_PDEATHSIG = 1

OpenEngine = Callable[[Path, Path | None, Tuning, Say], Engine]


def main(open_engine: OpenEngine = open_engine) -> int:
    """Serve one worker until it hangs up; a test may bring an engine of its own."""
    arguments = _parse_arguments()
    _die_with(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker decides when this process ends
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable(all_threads=False)
    faulthandler.register(signal.SIGUSR1)  # the worker asks where a hung engine hangs

    connection = EngineConnection(socket.socket(fileno=arguments.fd))
    inbox = Inbox(connection)
    inbox.start()
    started = time.perf_counter()

    def say(line: str) -> None:
        connection.send(Loading(phase=line))

    try:
        say("weights")
        engine = open_engine(arguments.weights, arguments.loras, arguments.tuning, say)
        say("warm-up")
        engine.warm_up()
    except EngineError as exc:
        connection.send(Broken(message=str(exc)))
        return EXIT_BROKEN
    connection.send(Ready(checkpoint=engine.checkpoint, load_s=time.perf_counter() - started))
    while True:
        serve(engine, connection, inbox)


class Inbox:
    """Reads the socket beside the work, so that a cancel or a hang-up is seen at once."""

    def __init__(self, connection: EngineConnection) -> None:
        self._connection = connection
        self._orders: queue.SimpleQueue[Generate] = queue.SimpleQueue()
        self._cancelled: set[str] = set()

    def start(self) -> None:
        """Read from now on, until the worker hangs up, which ends this process."""
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next(self) -> tuple[Generate, ...]:
        """Wait for orders to be drawn at once; those before have ended, and so have the cancels that name them."""
        first = self._orders.get()
        batch = (first, *(self._orders.get() for _ in range(first.more)))
        self._cancelled &= {asked.id for asked in batch}
        return batch

    def is_cancelled(self, order_id: str) -> bool:
        """Tell whether the worker gave that order up."""
        return order_id in self._cancelled

    def _read(self) -> None:
        try:
            while True:
                message, _fd = self._connection.receive()
                if isinstance(message, Generate):
                    self._orders.put(message)
                elif isinstance(message, Cancel):
                    self._cancelled.add(message.id)
        except (EOFError, OSError):
            pass
        except BaseException:  # a thread that ends in silence would leave a deaf process
            traceback.print_exc()
            raise
        finally:
            os._exit(0)  # nobody is left to draw for, and the main thread may be inside a kernel


def serve(engine: Engine, connection: EngineConnection, inbox: Inbox) -> None:
    """Draw the next orders and send what became of each."""
    batch = inbox.next()
    if len(batch) > 1:
        batch = _draw_together(engine, connection, inbox, batch)
    for asked in batch:
        _draw_alone(engine, connection, inbox, asked)


class _Wanted:
    """Those orders of a batch that nobody has cancelled; the others' pictures are drawn along, and thrown away."""

    def __init__(
        self, connection: EngineConnection, inbox: Inbox, batch: tuple[Generate, ...]
    ) -> None:
        self._connection = connection
        self._inbox = inbox
        self.orders = batch

    def drop_cancelled(self) -> None:
        """Say of each that was cancelled that it stopped. Raises Cancelled where none is left."""
        for asked in self.orders:
            if self._inbox.is_cancelled(asked.id):
                self.orders = tuple(other for other in self.orders if other is not asked)
                self._connection.send(Stopped(id=asked.id))
        if not self.orders:
            raise Cancelled

    def on_step(self, k: int, n: int) -> None:
        for asked in self.orders:
            self._connection.send(Step(id=asked.id, k=k, n=n))
        self.drop_cancelled()


def _draw_together(
    engine: Engine, connection: EngineConnection, inbox: Inbox, batch: tuple[Generate, ...]
) -> tuple[Generate, ...]:
    """Draw them at once; give those that must be drawn alone, because that failed.

    So what is one order's fault falls on that one, and too little memory for all is no failure.
    """
    wanted = _Wanted(connection, inbox, batch)
    try:
        wanted.drop_cancelled()
        orders = [asked.order for asked in batch]
        lookers = [_preview_sender(connection, asked) for asked in batch]
        results = engine.draw_together(orders, wanted.on_step, lookers)
    except Cancelled:
        return ()
    except DeviceLost:
        _leave()
    except Exception:  # noqa: BLE001  # around a job: what failed is seen when each is drawn alone
        traceback.print_exc()
        return wanted.orders
    alone = []
    for asked, result in zip(batch, results, strict=True):
        if asked not in wanted.orders:
            continue
        if result is None:
            alone.append(asked)
        else:
            _send_result(connection, asked.id, result)
    return tuple(alone)


def _draw_alone(
    engine: Engine, connection: EngineConnection, inbox: Inbox, asked: Generate
) -> None:
    def on_step(k: int, n: int) -> None:
        connection.send(Step(id=asked.id, k=k, n=n))
        if inbox.is_cancelled(asked.id):
            raise Cancelled

    try:
        if inbox.is_cancelled(asked.id):
            raise Cancelled  # noqa: TRY301  # the same end as a cancel at a step
        result = engine.generate(asked.order, on_step, _preview_sender(connection, asked))
    except Cancelled:
        connection.send(Stopped(id=asked.id))
    except DeviceLost:
        _leave()
    except Exception as exc:  # noqa: BLE001  # around a job: recorded, and the engine lives on
        _send_failure(connection, asked.id, exc)
    else:
        _send_result(connection, asked.id, result)


def _send_failure(connection: EngineConnection, order_id: str, error: Exception) -> None:
    cause, message = Cause.ENGINE, f"{type(error).__name__}: {error}"
    if isinstance(error, RequestFailed):
        cause, message = error.cause, str(error)
    if cause is Cause.ENGINE:
        traceback.print_exc()
    connection.send(Failed(id=order_id, cause=cause, message=message))


def _leave() -> NoReturn:
    """End with the exception at hand, without clean-up: it would call into the broken device."""
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(EXIT_DEVICE_LOST)


def _preview_sender(connection: EngineConnection, asked: Generate) -> OnPreview | None:
    if not asked.order.previews:
        return None

    def send(picture: Picture) -> None:
        height, width, _ = picture.shape
        connection.send(Preview(id=asked.id, width=width, height=height, pixels=picture.tobytes()))

    return send


def _send_result(connection: EngineConnection, order_id: str, result: Result) -> None:
    fd = _anonymous_file()
    try:
        with open(fd, "wb", closefd=False) as file:
            file.writelines(np.ascontiguousarray(picture).data for picture in result.pictures)
        done = Done(
            id=order_id,
            sizes=tuple((picture.shape[1], picture.shape[0]) for picture in result.pictures),
            notes=result.notes,
            generate_s=result.generate_s,
        )
        connection.send(done, fd=fd)
    finally:
        os.close(fd)


def _anonymous_file() -> int:
    """Open memory that only a descriptor names; off Linux, a file that has no name any more."""
    if sys.platform == "linux":
        return os.memfd_create("pictures")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the worker ends; the inbox sees it too, but not inside C."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)  # it ended before the kernel was asked


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker.engine_process.main", description=main.__doc__)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--loras", type=Path)
    parser.add_argument("--tuning", type=Tuning.from_json, default=Tuning())
    parser.add_argument("--parent", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
