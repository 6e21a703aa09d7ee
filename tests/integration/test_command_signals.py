"""`klein predict` and a signal that arrives before the server has told the id of the prediction."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support import processes
from tests.support.fake_server import ID, KEYED, answer_json, serving

CANCEL = f"/v1/prediction/{ID}/cancel"


@contextmanager
def creating() -> Iterator[tuple[processes.Process, list[str], threading.Event]]:
    """`klein predict`, whose create is answered after the event; and the requests that arrived."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def create(handler):
        is_asked.set()
        may_answer.wait(30)
        answer_json({"predictionID": ID})(handler)

    with serving() as fake:
        fake.answers |= {"/v1/prediction": create, CANCEL: answer_json({"status": "cancelled"})}
        command = ["predict", "a circle", "--model", "a-text-to-image", "--url", fake.url]
        with processes.started(
            [sys.executable, "-m", "app.cli", *command],
            env=KEYED,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as running:
            try:
                assert is_asked.wait(30)
                yield running, fake.requests, may_answer
            finally:
                may_answer.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_create_cancels(number):
    """The command waits for the id, cancels, and sets the exit code of shells."""
    with creating() as (running, requests, may_answer):
        running.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(1)
        may_answer.set()

        assert running.wait(30) == 128 + number
    assert requests[-1] == CANCEL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_command_at_once(number):
    """The command does not wait for a server that does not answer."""
    with creating() as (running, requests, _):
        running.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(1)
        running.send_signal(number)

        assert running.wait(20) == 128 + number
        assert CANCEL not in requests
