"""The engine process: loads the weights, then runs the requests that it receives over the socket.

It has no credentials, opens no network connection, and ends with the worker that started it.
"""

import argparse
import contextlib
import ctypes
import faulthandler
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

from app.garbage import collect_as_usual, collect_rarely
from app.predictions.failure import Cause
from worker.engine_process.connection import EngineConnection
from worker.engine_process.free_memory import keep_free_memory, return_free_memory
from worker.engine_process.heartbeat import Heartbeat
from worker.engine_process.inbox import IDLE_S, Inbox
from worker.engine_process.orphan import end_orphan
from worker.engine_process.protocol import (
    Broken,
    Done,
    Failed,
    Generate,
    Loading,
    Preview,
    Ready,
    Stopped,
)
from worker.engine_process.step_messages import StepMessages
from worker.engine_process.unused_packages import hide, unused_packages
from worker.engines import (
    Cancelled,
    DeviceLost,
    Engine,
    ImageArray,
    OnPreview,
    OnStatus,
    Result,
    Tuning,
    open_engine,
)
from worker.engines.errors import EngineError, RequestFailed

EXIT_BROKEN = 78
EXIT_DEVICE_LOST = 86
_PR_SET_PDEATHSIG = 1

OpenEngine = Callable[[Path, Path | None, Tuning, OnStatus], Engine]


def open_alone(weights: Path, loras: Path | None, tuning: Tuning, on_status: OnStatus) -> Engine:
    """Open the engine of this process, without what it does not use of the libraries."""
    hide(unused_packages(weights, tuning))
    return open_engine(weights, loras, tuning, on_status, owns_process=True)


def main(open_engine: OpenEngine = open_alone, idle_s: float = IDLE_S) -> int:
    """Serve one worker until it closes the socket. Tests pass arguments of their own."""
    arguments = _parse_arguments()
    _exit_with_parent(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker ends this process
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable(all_threads=False)
    faulthandler.register(signal.SIGUSR1)  # writes the stack trace of a hung engine

    connection = EngineConnection(socket.socket(fileno=arguments.fd))
    inbox = Inbox(connection, idle_s)
    heartbeat = Heartbeat(connection)
    heartbeat.start()
    started = time.perf_counter()

    collect_rarely()

    def on_status(line: str) -> None:
        connection.send(Loading(status=line))

    try:
        with heartbeat:
            on_status("weights")
            engine = open_engine(arguments.weights, arguments.loras, arguments.tuning, on_status)
            on_status("warm-up")
            engine.warm_up()
    except EngineError as exc:
        connection.send(Broken(message=str(exc)))
        return EXIT_BROKEN
    collect_as_usual()
    return_free_memory()  # of the start
    keep_free_memory()
    connection.send(Ready(checkpoint=engine.checkpoint, load_s=time.perf_counter() - started))
    try:
        while True:
            serve(engine, connection, inbox, heartbeat)
    except ConnectionError:
        end_orphan()


def serve(engine: Engine, connection: EngineConnection, inbox: Inbox, heartbeat: Heartbeat) -> None:
    """Run the next batch and send the outcome of each request."""
    batch = inbox.next()
    with heartbeat:
        if len(batch) > 1:
            batch = _run_batch(engine, connection, inbox, batch)
        for request in batch:
            _run_alone(engine, connection, inbox, request)


class _ActiveRequests:
    """Tracks the requests of a batch that are not cancelled.

    The model finishes the whole batch, and the images of cancelled requests are discarded.
    """

    def __init__(
        self, connection: EngineConnection, inbox: Inbox, batch: tuple[Generate, ...]
    ) -> None:
        self._connection = connection
        self._inbox = inbox
        self.requests = batch
        self._steps = {request.id: StepMessages(connection, request.id) for request in batch}

    def drop_cancelled(self) -> None:
        """Remove each cancelled request and send that it stopped. Raises Cancelled if none is left."""
        for request in self.requests:
            if self._inbox.is_cancelled(request.id):
                self.requests = tuple(other for other in self.requests if other is not request)
                self._connection.send(Stopped(id=request.id))
        if not self.requests:
            raise Cancelled

    def on_step(self, k: int, n: int) -> None:
        """Send a step of each request, then remove the cancelled ones."""
        for request in self.requests:
            self._steps[request.id].add(k, n)
        self.drop_cancelled()


def _run_batch(
    engine: Engine, connection: EngineConnection, inbox: Inbox, batch: tuple[Generate, ...]
) -> tuple[Generate, ...]:
    """Run a batch in one call of the model, and return the requests that must run alone.

    After an error all of them run alone, so that only the request that caused it fails.
    """
    active = _ActiveRequests(connection, inbox, batch)
    try:
        active.drop_cancelled()
        orders = [request.order for request in batch]
        on_previews = [_preview_sender(connection, request) for request in batch]
        results = engine.generate_batch(orders, active.on_step, on_previews)
    except Cancelled:
        return ()
    except DeviceLost:
        _exit_device_lost()
    except Exception:  # noqa: BLE001  # around a job: each request runs alone and shows its own error
        traceback.print_exc()
        return active.requests
    alone = []
    for request, result in zip(batch, results, strict=True):
        if request not in active.requests:
            continue
        if result is None:
            alone.append(request)
        else:
            _send_result(connection, request.id, result)
    return tuple(alone)


def _run_alone(
    engine: Engine, connection: EngineConnection, inbox: Inbox, request: Generate
) -> None:
    steps = StepMessages(connection, request.id)

    def on_step(k: int, n: int) -> None:
        steps.add(k, n)
        if inbox.is_cancelled(request.id):
            raise Cancelled

    try:
        if inbox.is_cancelled(request.id):
            raise Cancelled  # noqa: TRY301 -- handled like a cancel at a step
        result = engine.generate(request.order, on_step, _preview_sender(connection, request))
    except Cancelled:
        connection.send(Stopped(id=request.id))
    except DeviceLost:
        _exit_device_lost()
    except Exception as exc:  # noqa: BLE001  # around a job: it is sent to the worker
        _send_failure(connection, request.id, exc)
    else:
        _send_result(connection, request.id, result)


def _send_failure(connection: EngineConnection, request_id: str, error: Exception) -> None:
    cause, message = Cause.ENGINE, f"{type(error).__name__}: {error}"
    if isinstance(error, RequestFailed):
        cause, message = error.cause, str(error)
    if cause is Cause.ENGINE:
        traceback.print_exc()
    connection.send(Failed(id=request_id, cause=cause, message=message))


def _exit_device_lost() -> NoReturn:
    """Print the current exception and exit without clean-up, which would call into the broken device."""
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(EXIT_DEVICE_LOST)


def _preview_sender(connection: EngineConnection, request: Generate) -> OnPreview | None:
    if not request.order.previews:
        return None

    def send(image: ImageArray) -> None:
        height, width, _ = image.shape
        connection.send(Preview(id=request.id, width=width, height=height, pixels=image.tobytes()))

    return send


def _send_result(connection: EngineConnection, request_id: str, result: Result) -> None:
    try:
        fd = _write_images(result)
    except OSError as exc:  # there is no room for the images
        _send_failure(connection, request_id, exc)
        return
    try:
        done = Done(
            id=request_id,
            sizes=tuple((image.shape[1], image.shape[0]) for image in result.images),
            notes=result.notes,
            generate_s=result.generate_s,
            cached_bytes=result.cached_bytes,
            numerics=result.numerics,
        )
        connection.send(done, fd=fd)
    finally:
        os.close(fd)


def _write_images(result: Result) -> int:
    """Write the pixels to a new anonymous file, and return it open. Raises OSError."""
    fd = _anonymous_file()
    try:
        with open(fd, "wb", closefd=False) as file:
            file.writelines(np.ascontiguousarray(image).data for image in result.images)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _anonymous_file() -> int:
    """Open an anonymous memory file. On other systems than Linux, open a file that is already deleted."""
    if sys.platform == "linux":
        return os.memfd_create("images")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _exit_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when the worker ends. Elsewhere than on Linux the next beat or step ends it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)  # the worker ended before the call of prctl


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
