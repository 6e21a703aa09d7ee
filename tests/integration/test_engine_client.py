"""The engine process and its client: the pipe, faults and the end of the process. Mostly with a fake model."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from app.predictions.failure import Cause
from tests.support import processes
from worker.engine_client import client, silence
from worker.engine_client.client import EngineClient
from worker.engine_client.environment import engine_environment, usable_cores
from worker.engine_client.process import EngineDied, EngineHung
from worker.engine_client.request import EngineRequest
from worker.engine_client.silence import SilenceLimit
from worker.engines import (
    Cancelled,
    ImageArray,
    Order,
    TimedOut,
    WeightsError,
)
from worker.engines.errors import RequestFailed
from worker.engines.tuning import Compile, Quantization, Tuning

pytestmark = pytest.mark.timeout(120)  # two of them load a real engine
ROOT = Path(__file__).parents[2]
PARENT = """
import sys
from pathlib import Path
from worker.engine_client.client import EngineClient
from worker.engines import Order

weights, module, moment = sys.argv[1:]
child = EngineClient(Path(weights), module=module, on_line=lambda line: None)
child.start()
if moment != "loading":
    child.wait_ready(60)
print(child.pid, *sorted({"torch", "diffusers", "transformers"} & set(sys.modules)), flush=True)
if moment == "generating":
    order = Order(prompt="slow", width=512, height=512, steps=50, guidance=1.0, seeds=(1, 2, 3, 4))
    child.generate(order, lambda k, n: print(k, flush=True) or True)
sys.stdin.read()
"""
ENDLESS = 100_000
"""More slow steps than fit into a test: an order that has ended was stopped."""


def ignore_line(_line):
    pass


@pytest.fixture
def child(tmp_path):
    with EngineClient(
        tmp_path, module="tests.support.fake_engine_process", on_line=ignore_line
    ) as child:
        child.wait_ready(30)
        yield child


def order(prompt="a red house", **changes):
    values = {"width": 96, "height": 64, "steps": 2, "guidance": 1.0, "seeds": (7,)}
    return Order(prompt=prompt, **{**values, **changes})


def carry_on(_k, _n):
    return True


class StepRecorder:
    """Records the reported steps, and cancels at one of them."""

    def __init__(self, stop_at=None):
        self.steps = []
        self.stop_at = stop_at

    def __call__(self, k, n):
        self.steps.append((k, n))
        return k != self.stop_at


def is_gone(pid):
    """Return whether the process has ended. A zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


def test_generate_returns_images(child):
    """The engine process returns each image in its size, and the same image for the same order."""
    first = child.generate(order(seeds=(7, 8)), carry_on)
    second = child.generate(order(seeds=(7, 8)), carry_on)

    assert [image.shape for image in first.images] == [(64, 96, 3)] * 2
    assert all(map(np.array_equal, first.images, second.images))
    assert not np.array_equal(*first.images)


def test_batch_returns_images(child):
    """The requests of a batch return each with its own image and all its steps. A failure affects one request only."""
    recorders = [StepRecorder() for _ in range(3)]
    prompts = ("a red house", "fault", "a blue tree")
    batch = [
        EngineRequest(order=order(prompt, steps=3), on_step=on_step)
        for prompt, on_step in zip(prompts, recorders, strict=True)
    ]
    red, fault, blue = child.generate_batch(batch)

    assert np.array_equal(red.images[0], child.generate(order(), carry_on).images[0])
    assert np.array_equal(blue.images[0], child.generate(order("a blue tree"), carry_on).images[0])
    assert (type(fault), fault.cause, str(fault)) == (RequestFailed, Cause.ENGINE, "a fault")
    assert [(k, n) for k, n in recorders[0].steps[-3:]] == [(1, 3), (2, 3), (3, 3)]


def test_batch_returns_previews_on_request(child):
    """A caller that asked for previews gets those of its own request, as many as without a batch. Others get none."""
    previews: list[list[ImageArray]] = [[], [], []]
    orders = (order("red", previews=True), order("green"), order("blue", previews=True))
    child.generate_batch(
        [
            EngineRequest(order=one, on_step=carry_on, on_preview=look.append)
            for one, look in zip(orders, previews, strict=True)
        ]
    )
    for one, images in zip(orders, previews, strict=True):
        alone: list[ImageArray] = []
        child.generate(one, carry_on, on_preview=alone.append)
        assert np.array_equal(images, alone)

    assert [len(images) > 0 for images in previews] == [True, False, True]


def test_engine_death_fails_whole_batch(child):
    """An engine process that dies during a batch fails each request that has no image yet, and is started again."""
    outcomes = child.generate_batch(
        [EngineRequest(order=order(p), on_step=carry_on) for p in ("die", "fine")]
    )
    child.restart()
    child.wait_ready(30)

    assert [type(outcome) for outcome in outcomes] == [EngineDied, EngineDied]
    assert child.generate(order(), carry_on).images


def test_steps_arrive_in_order(child):
    """The parent receives the steps of all images in order, quick ones together, and when each one ended."""
    recorder = StepRecorder()
    request = EngineRequest(order=order(seeds=(1, 2), steps=3), on_step=recorder)
    child.generate_batch([request])

    assert recorder.steps[:2] == [(1, 6), (2, 6)]
    assert recorder.steps[-1] == (6, 6)
    assert recorder.steps == sorted(set(recorder.steps))
    assert len(request.step_times) == 6
    assert request.step_times == sorted(request.step_times)


def test_cancel_stops_within_one_step(child):
    """Three cancels in a row each stop their order at its next step. The next order is generated."""
    for _ in range(3):
        recorder = StepRecorder(stop_at=3)
        with pytest.raises(Cancelled):
            child.generate(order("slow", steps=ENDLESS), recorder)

        assert recorder.steps == [(1, ENDLESS), (2, ENDLESS), (3, ENDLESS)]
    assert child.generate(order(), carry_on).images[0].shape == (64, 96, 3)


def test_cancel_after_last_step_raises(child):
    """A caller that cancels at the last step gets Cancelled, not images. The next request is not affected."""
    with pytest.raises(Cancelled):
        child.generate(order(steps=1), lambda k, n: False)

    assert child.generate(order(steps=1), carry_on).images


def test_cancel_from_another_thread(child):
    """Any thread can cancel the current request. Without one, cancelling does nothing."""
    child.cancel()

    def cancel_once(k, _n):
        if k == 1:
            thread = threading.Thread(target=child.cancel)
            thread.start()
            thread.join()
        return True

    with pytest.raises(Cancelled):
        child.generate(order("slow", steps=100), cancel_once)


def test_callback_error_leaves_engine_usable(child):
    """An exception of the parent's callback reaches the caller. The request stops, and the next one is generated."""
    expected = child.generate(order(), carry_on).images[0]

    def fail(_k, _n):
        raise ConnectionError("Redis is away")

    with pytest.raises(ConnectionError):
        child.generate(order("slow", steps=ENDLESS), fail)

    assert np.array_equal(child.generate(order(), carry_on).images[0], expected)


@pytest.mark.parametrize(
    ("prompt", "cause", "message"),
    [
        ("out of memory", Cause.OUT_OF_MEMORY, "too little memory"),
        ("unusable lora", Cause.INPUT, "LoRA x"),
        ("fault", Cause.ENGINE, "a fault"),
        ("no room", Cause.ENGINE, "File too large"),
    ],
)
def test_failed_request_leaves_engine_usable(child, prompt, cause, message):
    """A failed request has the cause that the engine raised, or why its images could not be sent. The engine serves the next one."""
    with pytest.raises(RequestFailed, match=message) as failed:
        child.generate(order(prompt), carry_on)

    assert failed.value.cause is cause
    assert child.generate(order(), carry_on).images


def test_lost_device_ends_engine_process(child):
    """A device error that only a new process can cure ends the process with its own exit code."""
    with pytest.raises(EngineDied, match="exit code 86") as caught:
        child.generate(order("device lost"), carry_on)

    assert "DeviceLost" in caught.value.last_output


def test_results_leak_no_file_descriptors(child):
    """The number of open files on either side does not grow with the number of requests."""
    folders = [Path(f"/proc/{pid}/fd") for pid in (os.getpid(), child.pid)]
    child.generate(order(), carry_on)
    before = [len(list(folder.iterdir())) for folder in folders]
    for _ in range(5):
        child.generate(order(), carry_on)
        with pytest.raises(Cancelled):
            child.generate(order(steps=1), lambda k, n: False)
    child.generate(order(), carry_on)

    def is_no_more():
        now = [len(list(folder.iterdir())) for folder in folders]
        return all(count <= was for count, was in zip(now, before, strict=True))

    assert wait_until(is_no_more, 30)


def test_engine_death_is_reported_with_last_output(child):
    """An engine process that ends raises EngineDied with its last lines of output."""
    with pytest.raises(EngineDied, match="exit code 3") as caught:
        child.generate(order("die"), carry_on)

    assert "last words" in caught.value.last_output
    assert not child.alive


def test_engine_kill_is_detected_and_restarted(child):
    """A kill -9 during a request raises EngineDied. After a restart the engine generates again."""

    def kill(_k, _n):
        os.kill(child.pid, signal.SIGKILL)
        return True

    with pytest.raises(EngineDied, match=r"SIGKILL; .* when memory runs out"):
        child.generate(order("slow", steps=100), kill)
    with pytest.raises(EngineDied):
        child.generate(order(), carry_on)
    child.start()
    child.wait_ready(30)

    assert child.generate(order(), carry_on).images


def test_crash_is_reported_with_stack(child):
    """A crash in C is reported with its signal and the stack that faulthandler wrote."""

    def crash(_k, _n):
        os.kill(child.pid, signal.SIGSEGV)
        return True

    with pytest.raises(EngineDied, match="SIGSEGV") as caught:
        child.generate(order("slow", steps=100), crash)
    assert "Fatal Python error" in caught.value.last_output


def test_kill_from_another_thread_ends_wait(child):
    """When a watchdog kills the process, the waiting call raises at once."""

    def kill(k, _n):
        if k == 1:
            threading.Thread(target=child.kill).start()
        return True

    with pytest.raises(EngineDied, match=r"SIGKILL$"):  # no other cause is guessed
        child.generate(order("slow", steps=100), kill)


@pytest.fixture
def watched_child(tmp_path):
    """An engine process with short limits."""
    limit = SilenceLimit(beat_s=1.5, min_step_s=0.3)
    with EngineClient(
        tmp_path,
        module="tests.support.fake_engine_process",
        on_line=ignore_line,
        silence_limit=limit,
    ) as child:
        child.wait_ready(30)
        yield child


def test_hung_engine_is_killed_with_stack(watched_child):
    """A process whose step takes too long is killed although it sends beats, and its stack shows where it hung."""
    child = watched_child
    with pytest.raises(EngineHung, match="too long for a step") as caught:
        child.generate(order("hang", steps=4), carry_on)

    assert "in _act" in caught.value.last_output
    assert not child.alive


def test_stopped_engine_is_killed(watched_child):
    """Even a process that cannot run at all is killed."""
    child = watched_child
    os.kill(child.pid, signal.SIGSTOP)

    with pytest.raises(EngineHung, match="silent"):
        child.generate(order(), carry_on)
    assert not child.alive


def test_slow_phase_is_not_a_hang(watched_child):
    """Before its first step and after its last, a process may work longer than any limit: it sends beats."""
    child = watched_child
    pid = child.pid

    assert child.generate(order("dawdle", steps=3), carry_on).images
    assert child.pid == pid


def test_run_timeout_stops_request(child):
    """At its timeout a request stops at its next step, and the engine process keeps working."""
    with pytest.raises(TimedOut):
        child.generate(order("slow", steps=1000), carry_on, timeout_s=0.2)

    pid = child.pid
    assert child.generate(order(), carry_on, timeout_s=60).images
    assert child.pid == pid


@pytest.mark.parametrize("behaviour", ["hang", "stop"])
def test_run_timeout_kills_engine_that_does_not_stop(watched_child, behaviour):
    """A process that does not stop at the request's timeout is killed soon after."""
    child = watched_child
    if behaviour == "stop":
        os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(TimedOut):
        child.generate(order(behaviour, steps=4), carry_on, timeout_s=0.1)

    assert not child.alive


def test_kill_at_run_timeout_is_counted(child, monkeypatch):
    """The operator sees that run timeouts cost engines."""
    monkeypatch.setattr(silence, "MIN_STOP_S", 0.1)
    kills = REGISTRY.get_sample_value("klein_engine_timeout_kills_total") or 0
    with pytest.raises(TimedOut):
        child.generate(order("hang", steps=4), carry_on, timeout_s=0.5)

    assert not child.alive
    assert REGISTRY.get_sample_value("klein_engine_timeout_kills_total") == kills + 1


def test_run_timeout_waits_for_first_step(child):
    """A timeout that ends while the prompt is encoded does not cost the process, which other callers use too."""
    pid = child.pid
    with pytest.raises(TimedOut):
        child.generate(order("dawdle", seeds=(1, 2)), carry_on, timeout_s=0.001)

    assert child.generate(order(), carry_on).images
    assert child.pid == pid


def test_engine_death_before_timeout_is_not_timeout(child):
    """A request whose process dies before the timeout raises EngineDied, not TimedOut."""
    with pytest.raises(EngineDied):
        child.generate(order("die"), carry_on, timeout_s=60)


def test_group_signals_do_not_end_engine(child):
    """SIGINT and SIGTERM to the whole group do not end the process, because its parent decides."""
    os.kill(child.pid, signal.SIGINT)
    os.kill(child.pid, signal.SIGTERM)

    assert child.generate(order(), carry_on).images


def test_engine_outlives_thread_that_started_it(child):
    """An engine process that was started by a thread which has ended is alive and generates."""
    thread = threading.Thread(target=child.restart)
    thread.start()
    thread.join()
    child.wait_ready(30)

    assert child.generate(order(), carry_on).images


@pytest.mark.parametrize(
    ("module", "moment"),
    [
        ("tests.support.fake_engine_process", "loading"),
        ("tests.support.fake_engine_process", "ready"),
        ("tests.support.fake_engine_process", "generating"),
        ("worker.engine_process.main", "loading"),
        pytest.param("worker.engine_process.main", "generating", marks=pytest.mark.slow),
    ],
)
def test_engine_ends_with_worker(tiny_weights, module, moment):
    """When the parent is killed, the process ends too, whatever it was doing."""
    command = [sys.executable, "-c", PARENT, str(tiny_weights), module, moment]
    with processes.started(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, *heavy = parent.stdout.readline().split()
        if moment == "generating":
            assert parent.stdout.readline().strip() == "1"
        assert not is_gone(pid)
        parent.kill()
        parent.wait()

        assert wait_until(lambda: is_gone(pid), 30)
        assert heavy == []


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 64), ("150000 100000", 2), ("", 64), ("50000 100000", 1)]
)
def test_cores_are_those_of_the_container(tmp_path, monkeypatch, quota, cores):
    """A container with a quota of one and a half cores uses two threads, not one for each core of the host."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    (tmp_path / "cpu.max").write_text(quota)

    assert usable_cores(tmp_path / "cpu.max") == cores
    assert usable_cores(tmp_path / "none") == 64


def test_engine_environment_has_no_secrets(tmp_path):
    """No address, key or token of the parent's environment is in the environment of the engine process."""
    secrets = {
        "REDIS_URL": "redis://:secret@host",
        "STORAGE_URL": "s3://secret",
        "KLEIN_API_KEYS": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "HF_TOKEN": "secret",
    }
    environ = {**os.environ, **secrets, "OMP_NUM_THREADS": "1"}
    with EngineClient(
        tmp_path, environ=environ, module="tests.support.fake_engine_process", on_line=ignore_line
    ) as child:
        child.wait_ready(30)
        raw = Path(f"/proc/{child.pid}/environ").read_bytes().decode()
    variables = dict(entry.split("=", 1) for entry in raw.split("\0") if entry)

    assert not secrets.keys() & variables.keys()
    assert "secret" not in raw
    assert variables["OMP_NUM_THREADS"] == "1"
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert variables["OMP_WAIT_POLICY"] == "passive"
    assert variables == engine_environment(environ)


def test_engine_inherits_no_files(child, tmp_path):
    """The process inherits no open file of the parent, not even an inheritable one."""
    with (tmp_path / "parents").open("w") as parents:
        os.set_inheritable(parents.fileno(), True)
        child.restart()
        child.wait_ready(30)
        files = [str(fd.readlink()) for fd in Path(f"/proc/{child.pid}/fd").iterdir()]

    assert str(tmp_path / "parents") not in files


def test_invalid_weights_are_reported(tmp_path):
    """Invalid weights raise the engine's own error line. The folder is checked first."""
    with (
        EngineClient(tmp_path / "nowhere", on_line=ignore_line) as child,
        pytest.raises(WeightsError, match="nowhere does not exist"),
    ):
        child.wait_ready(30)


def test_loading_phases_are_reported(tmp_path):
    """The client reports what the engine does and decides while it loads. The tuning reaches the engine."""
    tuning = Tuning(quantization=Quantization.FP8, compile=Compile.ON, warm_sizes=((64, 96),))
    phases: list[str] = []
    with EngineClient(
        tmp_path, tuning=tuning, module="tests.support.fake_engine_process", on_line=ignore_line
    ) as child:
        child.wait_ready(30, phases.append)

    assert phases == ["weights", tuning.to_json(), "warm-up"]


def test_status_of_long_phase_is_repeated(tmp_path, monkeypatch):
    """While a phase lasts, the client says for how long it has lasted."""

    class Enough(Exception):
        pass

    def report(status):
        if ", for " in status:
            raise Enough(status)

    monkeypatch.setattr(client, "REPEAT_STATUS_S", 1)
    folder = tmp_path / "endless"
    folder.mkdir()
    with (
        EngineClient(
            folder, module="tests.support.fake_engine_process", on_line=ignore_line
        ) as child,
        pytest.raises(Enough, match=r", for \d+ s$"),
    ):
        child.wait_ready(30, report)


@pytest.mark.slow
def test_unusable_setting_is_reported(tiny_weights):
    """The engine's error line reaches the worker, which ends with it."""
    tuning = Tuning(quantization=Quantization.NVFP4)
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    with (
        EngineClient(tiny_weights, tuning=tuning, environ=environ, on_line=ignore_line) as child,
        pytest.raises(WeightsError, match=r"^KLEIN_QUANTIZATION=nvfp4 needs .* Set .*=none$"),
    ):
        child.wait_ready(60)


def test_loading_timeout_kills_engine(tmp_path):
    """A process that is not ready in time is killed."""
    with EngineClient(
        tmp_path, module="tests.support.fake_engine_process", on_line=ignore_line
    ) as child:
        with pytest.raises(EngineHung):
            child.wait_ready(0)

        assert not child.alive


def test_unstarted_client_raises(tmp_path):
    """A client that was never started raises instead of waiting. Closing it is harmless."""
    child = EngineClient(tmp_path)
    with pytest.raises(EngineDied, match="not started"):
        child.generate(order(), carry_on)
    with pytest.raises(EngineDied, match="not started"):
        child.wait_ready(1)
    child.close()

    assert not child.alive
    assert child.pid is None


def test_output_is_passed_on_by_default(tmp_path, capfd):
    """Without a listener the output of the process goes to this process's standard error."""
    with EngineClient(tmp_path, module="tests.support.fake_engine_process") as child:
        child.wait_ready(30)
        with pytest.raises(EngineDied):
            child.generate(order("die"), carry_on)

    assert "engine: last words" in capfd.readouterr().err


@pytest.mark.slow
def test_real_engine_generates_and_edits(tiny_weights):
    """The shipped engine process loads weights, edits with four references, reports steps, cancels, and generates again."""
    file = io.BytesIO()
    Image.effect_noise((640, 480), 90).convert("RGB").save(file, "PNG")
    references = (file.getvalue(),) * 4
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    with EngineClient(tiny_weights, environ=environ, on_line=ignore_line) as child:
        checkpoint = child.wait_ready(60)
        first = child.generate(order(seeds=(1, 2)), carry_on)
        edit = child.generate(
            order("word " * 600, width=None, height=None, reference_files=references), carry_on
        )
        with pytest.raises(Cancelled):
            child.generate(order(steps=50, width=256, height=256), lambda k, n: False)
        with pytest.raises(RequestFailed, match="reference image"):
            child.generate(order(reference_files=(b"not an image",)), carry_on)
        second = child.generate(order(seeds=(1, 2)), carry_on)

    assert checkpoint.name == "tiny-klein"
    assert edit.images[0].shape == (480, 640, 3)
    assert "truncated to 512" in edit.notes[0]
    assert all(map(np.array_equal, first.images, second.images))
