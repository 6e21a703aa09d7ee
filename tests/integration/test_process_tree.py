"""The process tree of `klein up`."""

import asyncio
import json
import os
import sys
from datetime import datetime

import pytest

from app.log_format import LogFormat
from app.process_tree import ProcessTree

PLAIN = """echo '# WARNING Memory overcommit'; echo '# Background saving error'; echo '{"event": "ready"}'"""
TICKS = "import time\nwhile True:\n    time.sleep(0.1)\n    print('still loading', flush=True)"


async def test_each_line_ends_silence() -> None:
    """A worker that logs is not silent, however long it takes: each line resets the time limit."""
    tree = ProcessTree(dict(os.environ), LogFormat.TEXT, stop_s=5)
    await tree.add("worker", [sys.executable, "-c", TICKS])
    try:
        resets, last_s = 0, tree.silent_s("worker")
        while resets < 3:
            await asyncio.sleep(0.01)
            silent_s = tree.silent_s("worker")
            resets += silent_s < last_s
            last_s = silent_s
    finally:
        await tree.stop()

    assert tree.silent_s("worker") >= 0


@pytest.mark.parametrize("log_format", [LogFormat.TEXT, LogFormat.JSON])
async def test_lines_have_one_format(
    capsys: pytest.CaptureFixture[str], log_format: LogFormat
) -> None:
    """In JSON each line is an object, also one that Redis writes. In text each follows the name of its process. Noise is left out."""
    tree = ProcessTree(dict(os.environ), log_format, stop_s=5)
    await tree.add("redis", ["sh", "-c", f"{PLAIN}; exec sleep 60"], noise=("overcommit",))
    try:
        lines: list[str] = []
        while len(lines) < 2:
            await asyncio.sleep(0.01)
            lines += capsys.readouterr().err.splitlines()
    finally:
        await tree.stop()

    if log_format is LogFormat.TEXT:
        assert lines == ["redis    # Background saving error", 'redis    {"event": "ready"}']
    else:
        events = [json.loads(line) for line in lines]
        assert datetime.fromisoformat(events[0].pop("timestamp")).tzinfo is not None
        assert events == [
            {
                "line": "# Background saving error",
                "event": "process_output",
                "process": "redis",
                "level": "info",
            },
            {"event": "ready"},
        ]


async def test_reason_of_a_process_ends_the_tree() -> None:
    """A process that says why it cannot run ends the tree with its words, also if another line follows them."""
    tree = ProcessTree(dict(os.environ), LogFormat.TEXT, stop_s=5)
    try:
        await tree.add(
            "worker", ["sh", "-c", "echo 'klein worker: no weights'; echo a warning; exit 1"]
        )
        await asyncio.wait_for(tree.stopping.wait(), 30)
    finally:
        await tree.stop()

    assert tree.failure == "klein worker: no weights"


async def test_last_words_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """What a process writes when it is asked to stop is printed before the tree ends."""
    tree = ProcessTree(dict(os.environ), LogFormat.TEXT, stop_s=30)
    try:
        script = "trap 'echo bye; exit' TERM; echo hello; while :; do sleep 0.05; done"
        await tree.add("worker", ["sh", "-c", script])
        said = ""
        while "hello" not in said:
            await asyncio.sleep(0.01)
            said += capsys.readouterr().err
    finally:
        await tree.stop()

    assert "bye" in capsys.readouterr().err
