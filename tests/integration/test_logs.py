"""The log of a process, as an operator reads it."""

import json
import os
import re
import sys

import pytest

from tests.support import processes

SCRIPT = """
import logging
from app.logs import configure_logs, log

configure_logs("worker")
log.info("prediction_finished", prediction="p", generate_s=0.5)
log.debug("unimportant")
try:
    raise ValueError("why")
except ValueError:
    log.exception("publish_failed")
logging.getLogger("rq.worker").info("chatter")
logging.getLogger("rq.worker").warning("a warning of RQ's: %s", 7)
"""
CRASHES = """
import threading, warnings
warnings.warn("a library's warning")
try:
    raise OSError("the connection is lost")
except OSError:
    logging.getLogger("uvicorn.error").error("worker %s failed", 3, exc_info=True)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise LookupError("nobody caught this")
"""


def test_event_is_one_line_of_json():
    """Events go to standard error, one JSON object a line, with process, level, time and fields."""
    run = processes.run([sys.executable, "-c", SCRIPT], check=True, timeout_s=10)
    events = [json.loads(line) for line in run.stderr.splitlines()]

    assert run.stdout == ""
    assert events[0] == {
        "event": "prediction_finished",
        "prediction": "p",
        "generate_s": 0.5,
        "process": "worker",
        "level": "info",
        "timestamp": events[0]["timestamp"],
    }
    assert events[0]["timestamp"].endswith("Z")
    assert [event["event"] for event in events[:2]] == ["prediction_finished", "publish_failed"]
    assert "ValueError: why" in events[1]["exception"]


def test_library_warnings_are_logged():
    """RQ's warnings are events of the log. Its info messages are not."""
    run = processes.run([sys.executable, "-c", SCRIPT], check=True, timeout_s=10)
    event = json.loads(run.stderr.splitlines()[-1])

    assert (event["event"], event["level"]) == ("library_message", "warning")
    assert (event["logger"], event["message"]) == ("rq.worker", "a warning of RQ's: 7")
    assert "chatter" not in run.stderr


def test_every_line_is_json():
    """What libraries log, Python's warnings and errors that nobody catches are lines of JSON, too."""
    run = processes.run([sys.executable, "-c", SCRIPT + CRASHES], timeout_s=10)
    events = [json.loads(line) for line in run.stderr.splitlines()][-4:]

    assert run.returncode == 1
    assert [event["event"] for event in events] == ["library_message"] * 2 + ["crashed"] * 2
    assert "a library's warning" in events[0]["message"]
    assert "OSError: the connection is lost" in events[1]["exception"]
    assert "ZeroDivisionError" in events[2]["exception"]
    assert "LookupError: nobody caught this" in events[3]["exception"]


def test_text_is_for_people() -> None:
    """As text an event has the local time, its name and fields, and a level only if it is a bad one."""
    script = SCRIPT.replace('("worker")', '("worker", LogFormat("text"))')
    script = f"from app.log_format import LogFormat\n{script}"
    run = processes.run([sys.executable, "-c", script], check=True, timeout_s=10)
    lines = run.stderr.splitlines()

    assert re.fullmatch(
        r"\d\d:\d\d:\d\d prediction_finished +generate_s=0.5 prediction=p", lines[0].rstrip()
    )
    assert re.match(r"\d\d:\d\d:\d\d \[error\] +publish_failed", lines[1])
    assert "ValueError: why" in run.stderr
    assert "{" not in run.stderr


@pytest.mark.parametrize(
    ("no_color", "has_colours"), [("", True), ("1", False)], ids=["colours", "NO_COLOR"]
)
def test_a_terminal_gets_text(no_color: str, has_colours: bool) -> None:
    """On a terminal the format is text, with colours unless NO_COLOR is set."""
    primary, secondary = os.openpty()
    processes.run(
        [sys.executable, "-c", SCRIPT],
        stderr=secondary,
        env=os.environ | {"NO_COLOR": no_color, "TERM": "xterm"},
        timeout_s=10,
        check=True,
    )
    os.close(secondary)
    output = os.read(primary, 65_536)
    os.close(primary)

    assert b"prediction_finished" in output
    assert b'"event"' not in output
    assert (b"\x1b[" in output) is has_colours
