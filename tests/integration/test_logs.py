"""The log of a process, as an operator reads it."""

import json
import sys

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
logging.getLogger("rq.worker").warning("a warning of RQ's")
"""


def test_one_event_is_one_line_of_json():
    """Events go to standard error, one JSON object a line, with process, level, time and fields."""
    run = processes.run([sys.executable, "-c", SCRIPT], check=True, timeout_s=10)
    events = [json.loads(line) for line in run.stderr.splitlines() if line.startswith("{")]

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
    assert [event["event"] for event in events] == ["prediction_finished", "publish_failed"]
    assert "ValueError: why" in events[1]["exception"]


def test_libraries_are_heard_when_they_warn():
    """RQ's warnings reach the log. Its info messages do not."""
    run = processes.run([sys.executable, "-c", SCRIPT], check=True, timeout_s=10)

    assert "a warning of RQ's" in run.stderr
    assert "chatter" not in run.stderr
