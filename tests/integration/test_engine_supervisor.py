"""The engine supervisor, on real processes with a fake model: a dead engine is restarted, a crash loop ends the worker."""

import os
import signal

import pytest

from tests.support.fakes import eventually
from worker.engine_client.client import EngineClient
from worker.engine_client.process import EngineDied, EngineGone
from worker.engine_client.recycling import RecyclePolicy
from worker.engine_client.supervisor import MAX_DEATHS, MAX_PAUSE_S, EngineSupervisor
from worker.engines import Order


class Rig:
    """A supervisor over a real engine process, and what it reported."""

    def __init__(self, folder, recycle_policy=None):
        self.child = EngineClient(
            folder, module="tests.support.fake_engine_process", on_line=lambda _: None
        )
        self.announced: list[bool] = []
        self.left = 0
        self.pauses: list[float] = []
        self.supervisor = EngineSupervisor(
            self.child,
            lambda checkpoint: self.announced.append(checkpoint is not None),
            self.leave,
            load_timeout_s=30,
            sleep=self.pauses.append,
            recycle_policy=recycle_policy,
        )

    def leave(self):
        self.left += 1

    def draw(self, prompt="a red house"):
        order = Order(prompt=prompt, width=64, height=64, steps=2, guidance=1.0, seeds=(1,))
        return self.child.generate(order, lambda _k, _n: True)

    def die(self):
        with pytest.raises(EngineDied):
            self.draw("die")


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    with rig.child:
        yield rig
        rig.supervisor.stop()


def test_a_dead_engine_comes_back(rig):
    """After the engine dies the worker is not ready. Then an engine is started, and the worker is ready and generates."""
    rig.supervisor.start()
    rig.die()
    rig.supervisor.ensure_running()

    assert rig.announced == [True, False, True]
    assert rig.draw().images


def test_a_living_engine_is_left_alone(rig):
    """An engine that is ready is left alone."""
    rig.supervisor.start()
    pid = rig.child.pid
    rig.supervisor.ensure_running()

    assert rig.child.pid == pid
    assert rig.announced == [True]


def test_an_idle_engine_that_dies_comes_back_by_itself(rig):
    """An idle engine that dies is replaced before the next request."""
    rig.supervisor.start()
    pid = rig.child.pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: rig.child.pid != pid and rig.child.is_ready, within_s=30)

    assert rig.announced == [True, False, True]
    assert rig.draw().images


def test_an_engine_that_died_before_the_order_is_told_apart(rig):
    """A death that the request cannot have caused raises an exception of its own."""
    rig.child.wait_ready(30)
    os.kill(rig.child.pid, signal.SIGKILL)
    eventually(lambda: not rig.child.alive)
    with pytest.raises(EngineGone, match="SIGKILL"):
        rig.draw()


def test_a_crash_loop_ends_the_worker(rig):
    """The delays grow, and the fifth death in a row without an image ends the worker, once."""
    rig.child.wait_ready(30)
    for _ in range(MAX_DEATHS - 1):
        rig.die()
        rig.supervisor.ensure_running()
    rig.die()
    with pytest.raises(SystemExit, match="dies again and again"):
        rig.supervisor.ensure_running()
    rig.supervisor.ensure_running()

    assert rig.pauses == [0, 1, 3, 7]
    assert max(rig.pauses) <= MAX_PAUSE_S
    assert (rig.left, rig.supervisor.is_in_crash_loop) == (1, True)
    assert rig.announced[-1] is False


def test_a_picture_between_deaths_is_a_new_start(rig):
    """Deaths with images in between are not a crash loop, however many there are."""
    rig.child.wait_ready(30)
    for _ in range(MAX_DEATHS + 1):
        rig.draw()
        rig.die()
        rig.supervisor.ensure_running()

    assert rig.pauses == [0] * (MAX_DEATHS + 1)
    assert rig.left == 0


def test_a_worker_that_leaves_brings_nothing_back(rig):
    """After a shutdown the supervisor starts no engine."""
    rig.child.wait_ready(30)
    rig.die()
    rig.supervisor.stop()
    rig.supervisor.ensure_running()

    assert not rig.child.alive


def test_an_engine_that_has_drawn_enough_is_renewed(tmp_path):
    """After its maximum of requests the engine is replaced by a fresh process, without an effect on callers or the count of deaths."""
    rig = Rig(tmp_path, RecyclePolicy(baseline_orders=1, max_orders=2))
    with rig.child:
        rig.supervisor.start()
        pids = []
        for _ in range(4):
            pids.append(rig.child.pid)
            rig.draw()
            rig.supervisor.recycle_if_due()
        rig.supervisor.stop()

    assert pids[0] == pids[1] != pids[2] == pids[3]
    assert False not in rig.announced
    assert rig.pauses == []


def test_a_worker_that_leaves_renews_nothing(tmp_path):
    """After a shutdown the engine is not replaced."""
    rig = Rig(tmp_path, RecyclePolicy(baseline_orders=0, max_orders=1))
    with rig.child:
        rig.supervisor.start()
        pid = rig.child.pid
        rig.draw()
        rig.supervisor.stop()
        rig.supervisor.recycle_if_due()

        assert rig.child.pid == pid
