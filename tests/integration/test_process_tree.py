"""The process tree of `klein up`."""

import asyncio
import os
import sys

from app.up import ProcessTree

TICKS = "import time\nwhile True:\n    time.sleep(0.1)\n    print('still loading', flush=True)"


async def test_each_line_ends_silence() -> None:
    """A worker that logs is not silent, however long it takes: each line resets the time limit."""
    tree = ProcessTree(dict(os.environ), stop_s=5)
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
