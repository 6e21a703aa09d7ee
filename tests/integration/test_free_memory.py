"""The memory of an engine process between two predictions."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.fake_engine_process import GAPS_BYTES, LAYER_BYTES, LAYERS
from worker.engine_client.client import EngineClient
from worker.engine_client.recycling import private_bytes
from worker.engines import Order

WAIT_S = 30


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can return memory between blocks")
def test_idle_engine_returns_free_memory(tmp_path):
    """An engine process that has no work soon returns what the last image took, and then draws the same image."""
    order = Order(prompt="gaps", width=64, height=64, steps=1, guidance=1.0, seeds=(7,))
    with EngineClient(tmp_path, module="tests.support.fake_engine_process") as engine:
        engine.wait_ready(WAIT_S)
        assert engine.pid is not None
        size_bytes = private_bytes(engine.pid)
        first = engine.generate(order, lambda _step, _steps: True)
        deadline = time.monotonic() + WAIT_S
        while private_bytes(engine.pid) > size_bytes + GAPS_BYTES // 2:
            assert time.monotonic() < deadline, "the engine process keeps the memory"
            threading.Event().wait(0.1)

        second = engine.generate(order, lambda _step, _steps: True)
        assert (second.images[0] == first.images[0]).all()


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can return memory between blocks")
def test_ready_engine_has_returned_memory_of_its_start(tmp_path):
    """An engine process that gets ready keeps nothing of what its start has freed."""
    sizes_bytes = []
    for _ in range(2):
        with EngineClient(tmp_path, module="tests.support.fake_engine_process") as engine:
            engine.wait_ready(WAIT_S)
            assert engine.pid is not None
            sizes_bytes.append(private_bytes(engine.pid))
        (tmp_path / "gaps.flag").touch()

    assert sizes_bytes[1] < sizes_bytes[0] + GAPS_BYTES // 2


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can keep memory")
def test_next_image_reuses_memory(tmp_path):
    """An image takes the memory that the one before it has freed, and asks the system for no new pages."""
    order = Order(prompt="layers", width=64, height=64, steps=1, guidance=1.0, seeds=(7,))
    with EngineClient(tmp_path, module="tests.support.fake_engine_process") as engine:
        engine.wait_ready(WAIT_S)
        engine.generate(order, lambda _step, _steps: True)
        before = _pages_taken(engine.pid)

        engine.generate(order, lambda _step, _steps: True)

        pages = LAYERS * LAYER_BYTES // os.sysconf("SC_PAGE_SIZE")
        assert _pages_taken(engine.pid) - before < pages // 2


def _pages_taken(pid):
    """Count the pages that a process has asked the system for, which are its minor page faults."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])
