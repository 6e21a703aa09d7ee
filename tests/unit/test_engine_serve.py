"""The child's loop with a fake engine, in this process: no torch."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from worker import wire
from worker.child import Inbox, serve
from worker.engines import (
    Cancelled,
    Checkpoint,
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
    references=(b"\0one", b"", b"three" * 100_000),
    negative_prompt="no",
    loras=(Lora(path="a.safetensors", scale=-0.5), Lora(path="b.safetensors", scale=4)),
)
CHECKPOINT = Checkpoint(
    name="n",
    description="d",
    licence="l",
    revision="r",
    distilled=True,
    default_steps=4,
    dtype="float32",
    device="cpu",
    max_sequence_length=512,
    native_size=64,
    largest_size=64,
    render_scaled=False,
)


class OneOrder(Inbox):
    """An inbox that holds one order."""

    def __init__(self, *, cancelled=False):
        self.cancelled = cancelled

    def next(self):
        return wire.Generate(id="1", order=ORDER)

    def is_cancelled(self, order_id):
        return self.cancelled


class FakeEngine:
    """An engine that raises what it was given, after one step."""

    checkpoint = CHECKPOINT

    def __init__(self, error=None):
        self.error = error

    def warm_up(self):
        pass

    def generate(self, order, on_step, on_preview=None):
        on_step(1, 4)
        if self.error is not None:
            raise self.error
        pictures = (np.full((2, 3, 3), 7, np.uint8), np.full((1, 1, 3), 9, np.uint8)[::-1])
        return Result(pictures=pictures, notes=("a note",), generate_s=0.5)


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield wire.Wire(ours), wire.Wire(theirs)


@pytest.mark.parametrize(
    "message",
    [
        wire.Cancel(id="1"),
        wire.Loading(phase="weights"),
        wire.Ready(checkpoint=CHECKPOINT, load_s=1.5),
        wire.Broken(message="no"),
        wire.Step(id="1", k=1, n=4),
        wire.Preview(id="1", width=1, height=2, pixels=b"\0\1\2\3\4\xff"),
        wire.Done(id="1", sizes=((64, 96), (1, 1)), notes=("a",), generate_s=0.25),
        wire.Failed(id="1", kind=wire.FailureKind.OUT_OF_MEMORY, message="no"),
        wire.Stopped(id="1"),
    ],
)
def test_each_message_arrives_as_it_was_sent(ends, message):
    """A message crosses the wire and is equal to itself."""
    ours, theirs = ends
    ours.send(message)

    assert theirs.receive(1) == (message, None)


def test_order_arrives_with_its_references(ends):
    """References cross as raw bytes, whatever their size."""
    ours, theirs = ends
    message = wire.Generate(id="1", order=ORDER)
    sender = threading.Thread(target=ours.send, args=(message,))
    sender.start()
    received, _ = theirs.receive(1)
    sender.join()

    assert received == message


def test_hung_up_is_an_end_of_file(ends):
    """The other end's hang-up is EOFError, silence is TimeoutError."""
    ours, theirs = ends
    with pytest.raises(TimeoutError):
        theirs.receive(0.01)
    ours.close()

    with pytest.raises(EOFError):
        theirs.receive(1)


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


def test_pictures_lie_one_after_the_other(ends):
    """Done comes with a file of raw pixels."""
    ours, theirs = ends
    serve(FakeEngine(), ours, OneOrder())

    step, done, pixels = received(theirs)
    assert step == wire.Step(id="1", k=1, n=4)
    assert done.sizes == ((3, 2), (1, 1))
    assert pixels == bytes([7] * 18 + [9] * 3)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OutOfMemory(),
            wire.Failed(id="1", kind=wire.FailureKind.OUT_OF_MEMORY, message=str(OutOfMemory())),
        ),
        (UnusableLora("no"), wire.Failed(id="1", kind=wire.FailureKind.INPUT, message="no")),
        (EngineFault("flat"), wire.Failed(id="1", kind=wire.FailureKind.FAULT, message="flat")),
        (KeyError("x"), wire.Failed(id="1", kind=wire.FailureKind.FAULT, message="KeyError: 'x'")),
        (Cancelled(), wire.Stopped(id="1")),
    ],
)
def test_each_end_has_its_message(ends, error, expected):
    """Every way an order can end sends exactly one last message."""
    ours, theirs = ends
    serve(FakeEngine(error), ours, OneOrder())

    assert received(theirs)[1:] == [expected]


def test_cancelled_before_the_start_draws_nothing(ends):
    """An order that was given up while it waited is not begun."""
    ours, theirs = ends
    serve(FakeEngine(), ours, OneOrder(cancelled=True))

    assert received(theirs) == [wire.Stopped(id="1")]


def test_the_driving_side_never_loads_torch():
    """Importing all that the worker needs of the engine leaves torch out."""
    code = (
        "import sys, worker.child, worker.supervise, worker.encode, worker.engines.folder;"
        "print({'torch', 'diffusers', 'transformers'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == "set()"
