"""Tests of the engine process's loop with a fake engine, run in this process without torch."""

import os
import socket
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.predictions.failure import Cause
from tests.support import fake_engine_process, processes
from worker.engine_process import protocol
from worker.engine_process.connection import EngineConnection
from worker.engine_process.heartbeat import Heartbeat
from worker.engine_process.inbox import Inbox
from worker.engine_process.main import serve
from worker.engine_process.orphan import EXIT_ORPHANED
from worker.engine_process.step_messages import StepMessages
from worker.engines import (
    Cancelled,
    EngineFault,
    Lora,
    Order,
    OutOfMemory,
    Result,
    UnusableLora,
)

ORDER = Order(
    prompt="ä prompt",
    width=None,
    height=None,
    steps=4,
    guidance=1.5,
    seeds=(-(2**63), 2**64 - 1),
    reference_files=(b"\0one", b"", b"three" * 100_000),
    negative_prompt="no",
    loras=(Lora(path="a.safetensors", scale=-0.5), Lora(path="b.safetensors", scale=4)),
)
DONE = protocol.Done(id="1", sizes=((1, 1),), notes=("a",), generate_s=0.25)


class OneOrder(Inbox):
    """An inbox that holds one order."""

    def __init__(self, *, cancelled=False):
        self.cancelled = cancelled

    def next(self):
        return (protocol.Generate(id="1", order=ORDER),)

    def is_cancelled(self, order_id):
        return self.cancelled


class Several(Inbox):
    """An inbox that holds a batch. Some orders are cancelled before the start or after the first step, some want previews."""

    def __init__(self, *ids, cancelled=(), before=(), with_previews=()):
        self.ids = ids
        self.cancelled = set(cancelled)
        self.before = set(before)
        self.with_previews = set(with_previews)
        self.looks = 0

    def next(self):
        return tuple(
            protocol.Generate(
                id=i, order=replace(ORDER, prompt=i, previews=i in self.with_previews)
            )
            for i in self.ids
        )

    def is_cancelled(self, order_id):
        self.looks += 1
        is_first = self.looks <= len(self.ids)
        return order_id in (self.before if is_first else self.before | self.cancelled)


class FakeEngine:
    """An engine that raises the given error, if any, after one step."""

    checkpoint = fake_engine_process.FakeEngine.checkpoint

    def __init__(self, error=None):
        self.error = error

    def warm_up(self):
        pass

    def generate(self, order, on_step, on_preview=None):
        on_step(1, 4)
        if self.error is not None:
            raise self.error
        images = (np.full((2, 3, 3), 7, np.uint8), np.full((1, 1, 3), 9, np.uint8)[::-1])
        return Result(images=images, notes=("a note",), generate_s=0.5)

    def generate_batch(self, orders, on_step, on_previews=()):
        """Return an image for each order but those with the prompt "poor". Raise the given error after the first of two steps."""
        for on_preview in on_previews:
            if on_preview is not None:
                on_preview(np.zeros((1, 1, 3), np.uint8))
        on_step(1, 2)
        if self.error is not None:
            raise self.error
        on_step(2, 2)
        images = (np.full((1, 1, 3), 5, np.uint8),)
        result = Result(images=images, notes=(), generate_s=0.5)
        return tuple(None if order.prompt == "poor" else result for order in orders)


class FirstFails(FakeEngine):
    """An engine that fails with a batch, but not with a single order."""

    def generate(self, order, on_step, on_preview=None):
        return FakeEngine().generate(order, on_step, on_preview)


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield EngineConnection(ours), EngineConnection(theirs)


@pytest.mark.parametrize(
    "message",
    [
        protocol.Cancel(id="1"),
        protocol.Loading(status="weights"),
        protocol.Ready(checkpoint=fake_engine_process.FakeEngine.checkpoint, load_s=1.5),
        protocol.Broken(message="no"),
        protocol.Step(id="1", k=3, n=4, ends=(1.5, 2.25)),
        protocol.Preview(id="1", width=1, height=2, pixels=b"\0\1\2\3\4\xff"),
        protocol.Done(id="1", sizes=((64, 96), (1, 1)), notes=("a",), generate_s=0.25),
        protocol.Failed(id="1", cause=Cause.OUT_OF_MEMORY, message="no"),
        protocol.Stopped(id="1"),
    ],
)
def test_message_round_trip(ends, message):
    """Each message is received as it was sent."""
    ours, theirs = ends
    ours.send(message)

    assert theirs.receive(1) == (message, None)


def test_order_round_trip_with_reference_images(ends):
    """Reference images are received as raw bytes, whatever their size."""
    ours, theirs = ends
    message = protocol.Generate(id="1", order=ORDER, batch_remaining=3)
    sender = threading.Thread(target=ours.send, args=(message,))
    sender.start()
    received, _ = theirs.receive(1)
    sender.join()

    assert received == message


def test_receive_timeout_and_end_of_file(ends):
    """`receive` raises TimeoutError while the other end is silent, and EOFError once it has closed."""
    ours, theirs = ends
    with pytest.raises(TimeoutError):
        theirs.receive(0.01)
    ours.close()

    with pytest.raises(EOFError):
        theirs.receive(1)


def test_messages_that_come_together_are_received_one_by_one(ends):
    """Messages that wait in the socket are received in order, and each file descriptor with its own message."""
    ours, theirs = ends
    step = protocol.Step(id="1", k=1, n=4, ends=(0.5,))
    with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second:
        first.write(b"first")
        second.write(b"second")
        first.flush()
        second.flush()
        ours.send(step)
        ours.send(DONE, fd=first.fileno())
        ours.send(step)
        ours.send(DONE, fd=second.fileno())

    assert received(theirs) == [step, DONE, b"first", step, DONE, b"second"]


def test_part_of_a_message_is_not_lost():
    """A message whose rest comes after a timeout is received whole."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ends = EngineConnection(ours), EngineConnection(theirs)
        frame = frame_of(DONE)
        ours.sendall(frame[:-5])
        with pytest.raises(TimeoutError):
            ends[1].receive(0.01)
        ours.sendall(frame[-5:])

        assert ends[1].receive(1) == (DONE, None)


def test_send_to_a_process_that_does_not_read_ends():
    """`send` raises TimeoutError once the other end has read nothing for the time limit."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = EngineConnection(ours, send_timeout_s=0.05)
        with pytest.raises(TimeoutError):
            connection.send(protocol.Preview(id="1", width=1, height=1, pixels=bytes(8 << 20)))


def frame_of(message):
    """Return the bytes that `send` writes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        EngineConnection(ours).send(message)
        return theirs.recv(64 * 1024)


def test_heartbeat_beats_only_during_work(ends):
    """Beats arrive while the process works. Between requests nobody reads the socket, so none are sent."""
    ours, theirs = ends
    heartbeat = Heartbeat(ours, period_s=0.01)
    heartbeat.start()
    with heartbeat:
        assert [theirs.receive(5)[0] for _ in range(3)] == [protocol.Beat()] * 3
    threading.Event().wait(0.1)  # the one that may be on its way
    received(theirs)

    with pytest.raises(TimeoutError):
        theirs.receive(0.3)


def received(end):
    messages: list[object] = []
    while True:
        try:
            message, fd = end.receive(0.01)
        except TimeoutError:
            return messages
        messages.append(message)
        if fd is not None:
            with os.fdopen(fd, "rb") as file:
                file.seek(0)
                messages.append(file.read())


def test_requests_that_come_during_work_are_not_lost(ends):
    """A look for cancels keeps the requests that it finds, in order."""
    ours, theirs = ends
    inbox = Inbox(theirs)
    order = replace(ORDER, reference_files=())
    ours.send(protocol.Generate(id="1", order=order))
    ours.send(protocol.Cancel(id="0"))
    ours.send(protocol.Generate(id="2", order=order))

    assert inbox.is_cancelled("0")
    assert not inbox.is_cancelled("1")
    assert [inbox.next()[0].id for _ in range(2)] == ["1", "2"]
    assert not inbox.is_cancelled("0")


@pytest.mark.parametrize("prompt", ["", "slow", "hang"])
def test_process_ends_when_the_worker_closes_the_socket(prompt):
    """The process ends if the socket is closed while it waits, between two steps, or while the model hangs."""
    ours, theirs = socket.socketpair()
    with (
        ours,
        processes.started(
            [
                *[sys.executable, "-m", "tests.support.fake_engine_process", "--weights", "none"],
                *["--fd", str(theirs.fileno()), "--parent", str(os.getpid())],
            ],
            pass_fds=[theirs.fileno()],
        ) as process,
    ):
        theirs.close()
        connection = EngineConnection(ours)
        while not isinstance(connection.receive(30)[0], protocol.Ready):
            pass
        if prompt:
            order = replace(ORDER, prompt=prompt, steps=10_000)
            connection.send(protocol.Generate(id="1", order=order))
            while getattr(connection.receive(30)[0], "k", 0) < 2:
                pass
            threading.Event().wait(0.3)  # until the model hangs, or another step is done
        connection.close()

        assert process.wait(30) == EXIT_ORPHANED


def test_quick_steps_are_sent_together(ends):
    """The first two steps and the last one are sent at once, others once in a while. Each brings the ends of those before it."""
    ours, theirs = ends
    times = [10.0, 10.01, 10.02, 10.03, 10.07, 10.08, 10.09]
    steps = StepMessages(ours, "1", clock=iter(times).__next__)
    for k in range(1, 8):
        steps.add(k, 7)

    messages = received(theirs)
    assert [message.k for message in messages] == [1, 2, 5, 7]
    assert [list(message.ends) for message in messages] == [
        times[:1],
        times[1:2],
        times[2:5],
        times[5:],
    ]


def test_images_are_sent_in_one_file(ends):
    """`Done` comes with a file that holds the pixels of all images one after another."""
    ours, theirs = ends
    serve(FakeEngine(), ours, OneOrder(), Heartbeat(ours))

    step, done, pixels = received(theirs)
    assert step == protocol.Step(id="1", k=1, n=4, ends=step.ends)
    assert done.sizes == ((3, 2), (1, 1))
    assert pixels == bytes([7] * 18 + [9] * 3)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OutOfMemory(),
            protocol.Failed(id="1", cause=Cause.OUT_OF_MEMORY, message=str(OutOfMemory())),
        ),
        (
            UnusableLora("no"),
            protocol.Failed(id="1", cause=Cause.INPUT, message="no"),
        ),
        (
            EngineFault("flat"),
            protocol.Failed(id="1", cause=Cause.ENGINE, message="flat"),
        ),
        (
            KeyError("x"),
            protocol.Failed(id="1", cause=Cause.ENGINE, message="KeyError: 'x'"),
        ),
        (Cancelled(), protocol.Stopped(id="1")),
    ],
)
def test_every_outcome_has_final_message(ends, error, expected):
    """Every outcome of an order sends exactly one final message."""
    ours, theirs = ends
    serve(FakeEngine(error), ours, OneOrder(), Heartbeat(ours))

    assert received(theirs)[1:] == [expected]


def test_cancel_before_start_generates_nothing(ends):
    """An order that was cancelled while it waited is not started."""
    ours, theirs = ends
    serve(FakeEngine(), ours, OneOrder(cancelled=True), Heartbeat(ours))

    assert received(theirs) == [protocol.Stopped(id="1")]


def message_names(end):
    """Return the names of the messages of each order, without the pixels."""
    names: dict[str, list[str]] = {}
    for message in received(end):
        if not isinstance(message, bytes):
            names.setdefault(message.id, []).append(type(message).__name__)
    return names


TOGETHER = ["Step", "Step", "Done"]
ALONE = ["Step", "Done"]


def test_batch_runs_orders_together(ends):
    """Each order of a batch gets the same step messages and its own image."""
    ours, theirs = ends
    serve(FakeEngine(), ours, Several("a", "b", "c"), Heartbeat(ours))

    assert message_names(theirs) == {"a": TOGETHER, "b": TOGETHER, "c": TOGETHER}


def test_batch_sends_previews_on_request(ends):
    """Only the order that asked for previews gets one."""
    ours, theirs = ends
    serve(FakeEngine(), ours, Several("a", "b", "c", with_previews="b"), Heartbeat(ours))

    assert message_names(theirs) == {"a": TOGETHER, "b": ["Preview", *TOGETHER], "c": TOGETHER}


def test_cancel_stops_one_order_of_batch(ends):
    """A cancelled order of a batch stops at its next step, and the others finish."""
    ours, theirs = ends
    serve(FakeEngine(), ours, Several("a", "b", "c", cancelled="b", before="c"), Heartbeat(ours))

    assert message_names(theirs) == {"a": TOGETHER, "b": ["Step", "Stopped"], "c": ["Stopped"]}


def test_batch_stops_when_all_are_cancelled(ends):
    """A batch stops once all its orders are cancelled."""
    ours, theirs = ends
    serve(FakeEngine(), ours, Several("a", "b", cancelled="ab"), Heartbeat(ours))

    assert message_names(theirs) == {"a": ["Step", "Stopped"], "b": ["Step", "Stopped"]}


def test_order_without_image_is_retried_alone(ends):
    """An order for which the batch gives no image is generated again alone."""
    ours, theirs = ends
    serve(FakeEngine(), ours, Several("a", "poor"), Heartbeat(ours))

    assert message_names(theirs) == {"a": TOGETHER, "poor": ["Step", "Step", *ALONE]}


@pytest.mark.parametrize("error", [OutOfMemory(), EngineFault("flat"), ValueError("a bug")])
def test_failed_batch_is_retried_one_by_one(ends, error, capfd):
    """If a batch fails for any reason, each of its orders that is not cancelled is generated alone."""
    ours, theirs = ends
    serve(FirstFails(error), ours, Several("a", "b", "c", cancelled="b"), Heartbeat(ours))

    assert message_names(theirs) == {
        "a": ["Step", *ALONE],
        "b": ["Step", "Stopped"],
        "c": ["Step", *ALONE],
    }
    assert type(error).__name__ in capfd.readouterr().err


def test_engine_client_does_not_import_torch():
    """The modules with which a worker drives its engine load neither torch nor diffusers nor transformers."""
    code = (
        "import sys, worker.engine_process.main, worker.engine_client.client, worker.job.encode, worker.engines.folder;"
        "print({'torch', 'diffusers', 'transformers'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    run = processes.run([sys.executable, "-c", code], cwd=root, check=True)

    assert run.stdout.strip() == "set()"
