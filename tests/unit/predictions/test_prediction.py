"""Tests of the transitions of a prediction: which are allowed, and what each changes."""

from dataclasses import replace
from datetime import timedelta

import pytest

from app.predictions.due import LINE_CHECK, QUEUE_CHECK, due_at
from app.predictions.engine_start import EngineStart
from app.predictions.errors import AlreadyFinal, LeaseLost
from app.predictions.failure import Cause, Failure
from app.predictions.prediction import LEASE, MAX_ATTEMPTS, RETRY_GAP, Output, Status, Timeouts
from app.predictions.timings import Timings
from tests.support.fakes import NOW, a_prediction

LATER = NOW + timedelta(seconds=3)
OUTPUTS = (Output(key="p/a/0.png", width=64, height=48),)
START = EngineStart.create("weights", timedelta(seconds=40), NOW)
FAILURE = Failure(cause=Cause.ENGINE, message="no image")

queued = a_prediction()
running = queued.claim("a", NOW)
succeeded = running.succeed("a", OUTPUTS, ("a note",), LATER)
failed = running.fail("a", FAILURE, LATER)
cancelled = queued.cancel(LATER)
FINAL = pytest.mark.parametrize(
    "final", [succeeded, failed, cancelled, running.cancel(LATER)], ids=lambda p: p.status
)
OWNERS_MOVES = pytest.mark.parametrize(
    "move",
    [
        lambda p, owner: p.renew(owner, NOW),
        lambda p, owner: p.wait_for_engine(owner, START),
        lambda p, owner: p.begin(owner, NOW),
        lambda p, owner: p.advance(owner, 1, 4),
        lambda p, owner: p.release(owner, NOW),
        lambda p, owner: p.retry(owner, "no reason", NOW),
        lambda p, owner: p.succeed(owner, OUTPUTS, (), NOW),
        lambda p, owner: p.fail(owner, FAILURE, NOW),
    ],
    ids=["renew", "wait_for_engine", "begin", "advance", "release", "retry", "succeed", "fail"],
)


def test_claim_starts_attempt():
    """A claim starts a queued prediction under its owner's lease."""
    assert running == replace(
        queued,
        status=Status.RUNNING,
        attempt=1,
        owner="a",
        lease_until=NOW + LEASE,
        started_at=NOW,
    )


def test_repeated_claim_of_owner_changes_nothing():
    """A repeated claim of the same owner changes nothing."""
    assert running.claim("a", LATER) is running


def test_current_lease_prevents_claim():
    """No other owner can claim a prediction before its lease expires."""
    with pytest.raises(LeaseLost):
        running.claim("b", NOW + LEASE - timedelta(milliseconds=1))


def test_expired_lease_can_be_claimed():
    """When the lease expires, another owner can claim the next attempt, and its progress starts at 0."""
    taken_over = running.advance("a", 2, 4).claim("b", NOW + LEASE)

    assert (taken_over.owner, taken_over.attempt, taken_over.step) == ("b", 2, 0)
    assert taken_over.lease_until == NOW + 2 * LEASE
    assert taken_over.started_at == NOW + LEASE


@FINAL
def test_final_prediction_cannot_be_claimed(final):
    """A final prediction cannot be claimed."""
    with pytest.raises(LeaseLost):
        final.claim("b", NOW + timedelta(days=1))


def test_claim_after_last_attempt_fails_prediction():
    """After the last attempt is lost, the next claim fails the prediction, with the number of attempts."""
    now, prediction = NOW, queued
    for attempt in range(1, MAX_ATTEMPTS + 1):
        prediction = prediction.claim(f"owner {attempt}", now)
        assert prediction.attempt == attempt
        now += LEASE
    timed_out = prediction.claim("one more", now)

    assert timed_out.status is Status.FAILED
    assert timed_out.failure is not None
    assert timed_out.failure.cause is Cause.WORKER_LOST
    assert str(MAX_ATTEMPTS) in timed_out.failure.message
    assert timed_out.attempt == MAX_ATTEMPTS
    assert timed_out.lease_until is None


@OWNERS_MOVES
@pytest.mark.parametrize(
    "prediction", [queued, running, *[succeeded, failed, cancelled]], ids=lambda p: p.status
)
def test_only_owner_changes_prediction(move, prediction):
    """A change by anyone but the owner raises LeaseLost, in every state."""
    with pytest.raises(LeaseLost):
        move(prediction, "b")


@OWNERS_MOVES
def test_former_owner_changes_nothing(move):
    """After the claim of another owner, the changes of the previous owner raise LeaseLost."""
    with pytest.raises(LeaseLost):
        move(running.claim("b", NOW + LEASE), "a")


def test_renewal_extends_lease():
    """A renewal extends the lease to one LEASE from now and changes nothing else."""
    assert running.renew("a", LATER) == replace(running, lease_until=LATER + LEASE)


def test_progress_is_recorded():
    """`advance` records step k of n."""
    assert running.advance("a", 2, 4) == replace(running, step=2, steps=4)
    renewed = running.advance("a", 2, 4, renewed_at=LATER)
    assert renewed == replace(running, step=2, steps=4, lease_until=LATER + LEASE)


def test_release_queues_again():
    """A release queues the prediction again, and the attempt does not count."""
    released = running.advance("a", 2, 4).release("a", LATER)

    assert released == replace(queued, attempt=0, steps=4, queued_at=LATER)


def test_retry_backoff_grows():
    """Each retry counts an attempt and waits four times as long, and the last one fails the prediction."""
    now, prediction = NOW, queued
    for attempt in range(1, MAX_ATTEMPTS):
        prediction = prediction.claim("a", now).retry("a", "the engine died", now)
        gap = RETRY_GAP * 4 ** (attempt - 1)
        assert (prediction.status, prediction.attempt) == (Status.QUEUED, attempt)
        assert due_at(prediction, now) == prediction.not_before == now + gap
        with pytest.raises(LeaseLost):
            prediction.claim("b", now + gap - timedelta(milliseconds=1))
        now += gap
    last = prediction.claim("a", now).retry("a", "the engine died", now)

    assert last.status is Status.FAILED
    assert last.failure == Failure(
        cause=Cause.WORKER_LOST, message=f"the engine died, in each of {MAX_ATTEMPTS} attempts"
    )


TIMED = replace(queued, timeouts=Timeouts(queue=timedelta(seconds=5), run=timedelta(seconds=60)))
TOO_LATE = NOW + timedelta(seconds=5)
IN_TIME = TOO_LATE - timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "transition", [lambda p, now: p.time_out_in_queue(now), lambda p, now: p.claim("a", now)]
)
def test_queue_timeout_ends_prediction(transition):
    """At its queue timeout a prediction fails, by a check or by a claim."""
    ended = transition(TIMED, TOO_LATE)

    assert ended.status is Status.FAILED
    assert ended.failure == Failure(
        cause=Cause.QUEUE_TIMEOUT, message="no worker was free within 5 s"
    )
    assert ended.attempt == 0
    assert TIMED.claim("a", IN_TIME).status is Status.RUNNING


def test_known_failure_ends_prediction():
    """A failure that was known when the prediction was accepted ends it, at the latest when a worker claims it, and once."""
    failure = Failure(cause=Cause.INPUT_UNREACHABLE, message="no image")
    doomed = replace(queued, known_failure=failure)
    for ended in (doomed.fail_early(NOW), doomed.claim("a", NOW)):
        assert (ended.status, ended.failure, ended.attempt) == (Status.FAILED, failure, 0)
        assert ended.fail_early(LATER) is ended


def test_queue_timeout_counts_only_waiting():
    """The queue timeout does not count while a prediction runs, and starts again after a release or a lost worker."""
    held = TIMED.claim("a", IN_TIME)
    released = held.release("a", LATER)
    lost_at = IN_TIME + LEASE

    assert held.time_out_in_queue(TOO_LATE) is held
    assert released.queue_deadline == LATER + timedelta(seconds=5)
    assert held.claim("b", lost_at + timedelta(seconds=4)).status is Status.RUNNING
    assert held.time_out_in_queue(lost_at + timedelta(seconds=5)).status is Status.FAILED
    assert queued.time_out_in_queue(NOW + timedelta(days=999)) is queued
    assert succeeded.time_out_in_queue(TOO_LATE) is succeeded


def test_next_check_is_before_queue_timeout():
    """The next check is never later than the queue timeout."""
    assert due_at(TIMED, NOW) == TOO_LATE
    assert due_at(TIMED.claim("a", NOW), NOW) == NOW + LEASE


def test_success_keeps_outputs_and_notes():
    """A success has its outputs, its notes and full progress, and no lease."""
    done = running.advance("a", 3, 4).succeed("a", OUTPUTS, ("a note",), LATER)

    assert done == replace(
        running,
        status=Status.SUCCEEDED,
        outputs=OUTPUTS,
        notes=("a note",),
        finished_at=LATER,
        lease_until=None,
        step=4,
        steps=4,
    )
    assert done.run_time == LATER - NOW


def test_success_has_steps_that_were_not_recorded():
    """Steps that were too quick to be recorded one by one are done in the end, as the worker counted them."""
    done = running.succeed("a", OUTPUTS, (), LATER, Timings(steps=4))

    assert (done.step, done.steps) == (4, 4)


def test_failure_keeps_reason():
    """A failure has its reason and no output."""
    assert failed == replace(
        running, status=Status.FAILED, failure=FAILURE, finished_at=LATER, lease_until=None
    )


def test_owner_can_repeat_end():
    """The owner can repeat its last change after a lost reply, and the first one stays."""
    assert succeeded.succeed("a", (), (), LATER + LEASE) is succeeded
    assert failed.fail("a", Failure(cause=Cause.TIMEOUT, message="x"), LATER + LEASE) is failed


@FINAL
def test_first_end_wins(final):
    """A final prediction cannot be cancelled, and the error has its status."""
    with pytest.raises(AlreadyFinal) as refused:
        final.cancel(LATER)

    assert refused.value.status == final.status


def test_end_cannot_change():
    """Even the owner cannot change how a prediction ended."""
    with pytest.raises(LeaseLost):
        succeeded.fail("a", FAILURE, LATER)
    with pytest.raises(LeaseLost):
        failed.succeed("a", OUTPUTS, (), LATER)


@pytest.mark.parametrize("prediction", [queued, running])
def test_cancel_ends_unfinished_prediction(prediction):
    """A cancel ends a queued or running prediction and its lease."""
    ended = prediction.cancel(LATER)

    assert (ended.status, ended.finished_at, ended.lease_until) == (Status.CANCELLED, LATER, None)


def test_next_check_time():
    """A lease is checked when it expires, one in line after LINE_CHECK, and a final prediction never."""
    assert due_at(running, NOW) == NOW + LEASE
    assert due_at(running, NOW + LEASE) == NOW + LEASE + QUEUE_CHECK
    assert due_at(queued, NOW) == NOW + LINE_CHECK
    assert due_at(succeeded, NOW) is None


def test_redis_clock_jump_back_ends_lease_and_gap():
    """A lease or a gap further ahead than any can be is over. One that a small correction moved is not."""
    back = NOW - timedelta(hours=1)
    waiting = running.retry("a", "the engine died", NOW)

    assert running.claim("b", back).owner == "b"
    assert waiting.claim("b", back).owner == "b"
    with pytest.raises(LeaseLost):
        running.claim("b", NOW - timedelta(milliseconds=500))


def test_run_time_is_zero_before_end():
    """A prediction that is queued, running or was cancelled in the queue has a run time of zero."""
    assert {p.run_time for p in (queued, running, cancelled)} == {timedelta()}


@pytest.mark.parametrize("status", Status)
def test_final_statuses(status):
    """Succeeded, failed and cancelled are final. Queued and running are not."""
    assert status.is_final == (status in {"succeeded", "failed", "cancelled"})


@pytest.mark.parametrize("cause", Cause)
def test_caller_errors_are_not_retryable(cause):
    """Every failure is retryable, except those of an input and of a withheld image."""
    by_caller = {"input", "input_unreachable", "withheld"}
    assert Failure(cause=cause, message="x").is_retryable == (cause not in by_caller)


def test_start_of_engine_is_no_run_time():
    """A running prediction shows the start of the engine that it waits for, and its run time counts from the end of it."""
    waiting = running.wait_for_engine("a", START)
    begun = waiting.begin("a", LATER)
    ended = begun.succeed("a", OUTPUTS, (), LATER + timedelta(seconds=2))

    assert waiting.engine_start == EngineStart(
        phase="weights", ready_at=NOW + timedelta(seconds=40)
    )
    assert begun.engine_start is None
    assert ended.run_time == timedelta(seconds=2)


@pytest.mark.parametrize(
    "move",
    [
        lambda p: p.advance("a", 1, 4),
        lambda p: p.release("a", LATER),
        lambda p: p.retry("a", "no reason", LATER),
        lambda p: p.cancel(LATER),
        lambda p: p.fail("a", FAILURE, LATER),
        lambda p: replace(p, lease_until=NOW).claim("b", LATER),
    ],
    ids=["advance", "release", "retry", "cancel", "fail", "claim"],
)
def test_start_of_engine_is_forgotten(move):
    """No later state still says that the prediction waits for an engine."""
    assert move(running.wait_for_engine("a", START)).engine_start is None


@pytest.mark.parametrize(("after_s", "left_s"), [(0, 40.0), (10, 30.0), (60, 0.0)])
def test_rest_of_start_is_estimated(after_s, left_s):
    """The rest of a start shrinks, and is never negative. Without an earlier start it is unknown."""
    now = NOW + timedelta(seconds=after_s)

    assert START.left_s(now) == left_s
    assert EngineStart.create("weights", None, NOW).left_s(now) is None
