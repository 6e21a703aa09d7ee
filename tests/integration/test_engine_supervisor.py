"""The engine supervisor, on real processes with a fake model: a dead engine is restarted, an idle one unloaded, a crash loop ends the worker."""

import os
import signal

import pytest

from app.predictions.worker_registry import Departure, WorkerCommand, WorkerState
from tests.support.fakes import eventually
from worker.engine_client.canary import Canary
from worker.engine_client.client import EngineClient
from worker.engine_client.deaths import MAX_DEATHS, MAX_PAUSE_S
from worker.engine_client.idleness import IdleTimer
from worker.engine_client.loading import LoadingPhase
from worker.engine_client.process import EngineDied, EngineGone
from worker.engine_client.recycling import RecyclePolicy
from worker.engine_client.supervisor import EngineSupervisor
from worker.engines import Order

IDLE_S = 900.0
CANARY_S = 100.0


class Rig:
    """A supervisor over a real engine process, and what it reported."""

    def __init__(self, folder, recycle_policy=None):
        self.child = EngineClient(
            folder, module="tests.support.fake_engine_process", on_line=lambda _: None
        )
        self.announced: list[bool] = []
        self.states: list[WorkerState] = []
        self.phases: list[LoadingPhase] = []
        self.look = lambda: True  # whether there is no work
        self.now_s = 0.0
        self.left = 0
        self.pauses: list[float] = []
        self.in_pause = lambda: None
        self.supervisor = EngineSupervisor(
            self.child,
            self.announce,
            self.leave,
            is_idle=lambda: self.look(),  # noqa: PLW0108 -- looked up at each call
            on_loading=self.phases.append,
            idle_timer=IdleTimer(IDLE_S, clock=lambda: self.now_s),
            canary=Canary(CANARY_S, clock=lambda: self.now_s),
            load_timeout_s=30,
            sleep=self.pause,
            recycle_policy=recycle_policy,
        )

    def announce(self, checkpoint, state):
        self.announced.append(checkpoint is not None)
        self.states.append(state)

    def pause(self, seconds):
        self.pauses.append(seconds)
        self.in_pause()

    def leave(self):
        self.left += 1

    def generate(self, prompt="a red house"):
        order = Order(prompt=prompt, width=64, height=64, steps=2, guidance=1.0, seeds=(1,))
        return self.child.generate(order, lambda _k, _n: True)

    def die(self):
        with pytest.raises(EngineDied):
            self.generate("die")


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    with rig.child:
        yield rig
        rig.supervisor.stop()


def test_dead_engine_is_restarted(rig):
    """After the engine dies the worker is not ready. Then an engine is started, and the worker is ready and generates."""
    rig.supervisor.start()
    rig.die()
    rig.supervisor.ensure_running()

    assert rig.announced == [True, False, True]
    assert rig.generate().images


def test_ready_engine_is_left_alone(rig):
    """An engine that is ready is left alone."""
    rig.supervisor.start()
    pid = rig.child.pid
    rig.supervisor.ensure_running()

    assert rig.child.pid == pid
    assert rig.announced == [True]


def test_idle_dead_engine_is_restarted(rig):
    """An idle engine that dies is replaced before the next request."""
    rig.supervisor.start()
    pid = rig.child.pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: rig.announced == [True, False, True])

    assert rig.child.pid != pid
    assert rig.generate().images


def test_engine_death_before_request_has_own_error(rig):
    """A death that the request cannot have caused raises an exception of its own."""
    rig.child.wait_ready(30)
    os.kill(rig.child.pid, signal.SIGKILL)
    eventually(lambda: not rig.child.alive)
    with pytest.raises(EngineGone, match="SIGKILL"):
        rig.generate()


def test_crash_loop_ends_worker(rig):
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
    assert rig.left == 1
    assert "dies again and again" in rig.supervisor.failure
    assert rig.announced[-1] is False


def test_success_between_deaths_resets_crash_loop(rig):
    """Deaths with images in between are not a crash loop, however many there are."""
    rig.child.wait_ready(30)
    for _ in range(MAX_DEATHS + 1):
        rig.generate()
        rig.die()
        rig.supervisor.ensure_running()

    assert rig.pauses == [0] * (MAX_DEATHS + 1)
    assert rig.left == 0


def test_shutdown_during_pause_stops_engine_restart(rig):
    """After a shutdown that begins in the pause before a restart, the supervisor starts no engine."""
    rig.child.wait_ready(30)
    rig.die()
    pid = rig.child.pid
    rig.in_pause = rig.supervisor.stop
    rig.supervisor.ensure_running()

    assert rig.pauses == [0]
    assert rig.child.pid == pid
    assert not rig.child.alive


def test_closed_engine_is_not_restarted(rig):
    """An engine client that is closed while the supervisor restarts the engine starts no process and loses no thread to an error."""
    rig.child.wait_ready(30)
    rig.die()
    pid = rig.child.pid

    def stop_worker():
        rig.child.close()
        rig.in_pause = rig.supervisor.stop

    rig.in_pause = stop_worker
    rig.supervisor.ensure_running()

    assert rig.pauses == [0, 1]
    assert rig.child.pid == pid
    assert not rig.child.alive


def test_shutdown_stops_engine_restarts(rig):
    """After a shutdown the supervisor starts no engine."""
    rig.child.wait_ready(30)
    rig.die()
    rig.supervisor.stop()
    rig.supervisor.ensure_running()

    assert not rig.child.alive


class GrowingPolicy(RecyclePolicy):
    """Takes the process for one that has grown by this factor after its second order."""

    def __init__(self, growth):
        super().__init__(baseline_orders=1)
        self.growth = growth
        self.orders = 0

    def record(self, pid, size_bytes):
        self.orders += 1
        super().record(pid, 100 if self.orders == 1 else int(100 * self.growth))


def test_engine_that_grew_is_recycled_without_work(tmp_path):
    """An engine that has grown stays while there is work. Without work it is replaced, and no death is counted."""
    rig = Rig(tmp_path, GrowingPolicy(1.5))
    with rig.child:
        rig.supervisor.start()
        pid = rig.child.pid
        rig.look = lambda: False
        for _ in range(2):
            rig.generate()
            rig.supervisor.recycle_if_due()
            rig.supervisor.check()
        during = rig.child.pid
        rig.look = lambda: True
        rig.supervisor.check()
        rig.supervisor.check()
        rig.supervisor.stop()

        assert during == pid != rig.child.pid
        assert rig.child.is_ready
    assert False not in rig.announced
    assert rig.pauses == []


def test_engine_that_doubled_is_recycled_amid_work(tmp_path):
    """An engine whose memory has doubled is replaced after a batch, although predictions wait."""
    rig = Rig(tmp_path, GrowingPolicy(2.5))
    with rig.child:
        rig.supervisor.start()
        rig.look = lambda: False
        pids = []
        for _ in range(3):
            pids.append(rig.child.pid)
            rig.generate()
            rig.supervisor.recycle_if_due()
        rig.supervisor.stop()

    assert pids[0] == pids[1] != pids[2]


def test_shutdown_stops_engine_recycling(tmp_path):
    """After a shutdown the engine is not replaced."""
    rig = Rig(tmp_path, GrowingPolicy(2.5))
    with rig.child:
        rig.supervisor.start()
        pid = rig.child.pid
        rig.generate()
        rig.supervisor.recycle_if_due()
        rig.generate()
        rig.supervisor.stop()
        rig.supervisor.recycle_if_due()

        assert rig.child.pid == pid


def fall_asleep(rig):
    """Let the idle time pass."""
    rig.now_s += IDLE_S
    rig.supervisor.check()
    assert not rig.child.alive


def test_idle_engine_is_unloaded_and_started_for_next_work(rig):
    """After its idle time the engine process ends. The worker stays registered, and the next work starts the engine, which is no death."""
    rig.supervisor.start()
    rig.now_s += IDLE_S - 1
    rig.supervisor.check()
    assert rig.child.is_ready
    rig.now_s += 1
    rig.supervisor.check()
    assert not rig.child.alive
    rig.supervisor.check()  # leaves it asleep
    assert not rig.child.alive
    rig.supervisor.ensure_running()

    assert rig.generate().images
    assert rig.states == [
        WorkerState.READY,
        WorkerState.ASLEEP,
        WorkerState.LOADING,
        WorkerState.READY,
    ]
    assert False not in rig.announced
    assert rig.pauses == []
    assert rig.phases[-3:] == [LoadingPhase.STARTING, LoadingPhase.WEIGHTS, LoadingPhase.WARM_UP]


def test_idle_time_begins_when_engine_is_loaded(rig):
    """An engine that takes longer to load than it may be idle stays loaded."""
    rig.now_s += IDLE_S
    rig.supervisor.start()
    rig.supervisor.check()

    assert rig.child.is_ready


def test_work_restarts_idle_time(rig):
    """An engine that generates, or has generated since the last look, is not unloaded, and its idle time starts again."""
    rig.supervisor.start()
    rig.now_s += IDLE_S
    rig.look = lambda: False
    rig.supervisor.check()
    rig.look = lambda: True
    rig.now_s += IDLE_S - 1
    rig.supervisor.check()
    rig.generate()
    rig.now_s += 1
    rig.supervisor.check()

    assert rig.states == [WorkerState.READY]
    assert rig.child.is_ready


def test_work_that_comes_while_engine_is_unloaded_keeps_it(rig):
    """Work that is claimed at the last moment keeps the engine loaded."""
    rig.supervisor.start()
    looks = iter([True, False])
    kept = rig.child.unload(lambda: next(looks) and next(looks))

    assert not kept
    assert rig.generate().images


def test_commands_unload_and_load(rig):
    """An operator unloads the engine once it has no work, and loads it without work."""
    rig.supervisor.start()
    rig.look = lambda: False
    rig.supervisor.request(WorkerCommand.UNLOAD)
    rig.supervisor.check()
    assert rig.child.is_ready
    rig.look = lambda: True
    rig.supervisor.check()
    assert not rig.child.alive
    rig.supervisor.request(WorkerCommand.LOAD)
    rig.supervisor.check()

    assert rig.child.is_ready
    assert rig.states == [
        WorkerState.READY,
        WorkerState.ASLEEP,
        WorkerState.LOADING,
        WorkerState.READY,
    ]


def test_crash_of_waking_engine_is_crash_while_loading(rig, tmp_path):
    """An engine that dies while it is started for work counts as a death: the worker is not ready, and the engine starts again."""
    rig.supervisor.start()
    fall_asleep(rig)
    dying = tmp_path / "dying.flag"
    dying.touch()
    rig.in_pause = lambda: dying.unlink(missing_ok=True)
    rig.supervisor.ensure_running()

    assert rig.pauses == [0]
    assert rig.announced == [True, True, True, False, True]
    assert rig.generate().images


def test_unusable_weights_end_waking_worker(rig, tmp_path):
    """A worker whose weights can no longer be served when it wakes is not ready and ends with the reason."""
    rig.supervisor.start()
    fall_asleep(rig)
    (tmp_path / "broken.flag").touch()
    with pytest.raises(SystemExit, match="is broken"):
        rig.supervisor.ensure_running()

    assert rig.left == 1
    assert "is broken" in rig.supervisor.failure
    assert rig.announced[-1] is False


def test_shutdown_leaves_engine_asleep(rig):
    """After a shutdown the supervisor does not wake the engine."""
    rig.supervisor.start()
    fall_asleep(rig)
    rig.supervisor.stop()
    rig.supervisor.ensure_running()

    assert not rig.child.alive


def test_changed_canary_ends_worker(rig, tmp_path):
    """A worker whose canary differs from that of its start generates nothing more, is not ready, and ends with the reason."""
    rig.supervisor.start()
    (tmp_path / "drift.flag").touch()
    rig.supervisor.check()  # it is not due yet
    assert rig.child.is_ready
    rig.now_s += CANARY_S
    with pytest.raises(SystemExit, match="no pixel may differ"):
        rig.supervisor.check()

    assert rig.left == 1
    assert rig.supervisor.departure is Departure.CANARY
    assert not rig.child.alive
    assert rig.announced[-1] is False
    rig.supervisor.ensure_running()  # starts no engine any more
    assert not rig.child.alive


def test_same_canary_keeps_worker(rig):
    """A worker whose canary is that of its start stays, also after its engine was started again. The canary is no work."""
    rig.supervisor.start()
    images = rig.child.completed
    rig.now_s += CANARY_S
    rig.supervisor.check()
    assert rig.child.completed == images + 1
    fall_asleep(rig)
    rig.supervisor.check()
    assert not rig.child.alive  # no canary wakes it
    rig.supervisor.ensure_running()
    rig.supervisor.check()

    assert rig.child.completed == images + 2
    assert rig.left == 0


def test_slow_engine_generates_no_canary(rig, tmp_path):
    """An engine that takes minutes for an image generates no canary: a prediction that arrives would wait for it."""
    (tmp_path / "minutes.flag").touch()
    rig.supervisor.start()
    rig.now_s += CANARY_S
    rig.supervisor.check()

    assert rig.child.completed == 0


def test_work_goes_before_canary(rig, tmp_path):
    """A canary is stopped at its next step when work comes, and is generated once the work is done."""
    rig.supervisor.start()
    (tmp_path / "drift.flag").touch()
    rig.now_s += CANARY_S
    looks = iter([True])  # then work has come
    rig.look = lambda: next(looks, False)
    rig.supervisor.check()
    assert rig.left == 0
    rig.look = lambda: True
    with pytest.raises(SystemExit):
        rig.supervisor.check()
