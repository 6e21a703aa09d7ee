"""A state machine over the real store: invariants that no order of calls by any number of owners breaks.

The model beside it is a few lines of plain Python. Two broken stores show that the machine finds violations.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from app.predictions import scripts
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import AlreadyFinal, LeaseLost
from app.predictions.failure import Cause, Failure
from app.predictions.maintenance import Maintenance
from app.predictions.prediction import MAX_ATTEMPTS, Output, Prediction, Status
from app.predictions.queue import Queues
from app.predictions.redis_keys import ENDED_CHANNEL, EXPIRY, OPEN, record_key
from app.predictions.store import Store
from app.storage.local import LocalStorage
from tests.support.fakes import a_prediction, edited, end_gap, expire_lease, make_due

QUEUE = "rq:queue:klein-distilled"
FAILURE = Failure(cause=Cause.ENGINE, message="no image")
CI = settings(
    derandomize=True,
    deadline=None,
    max_examples=75,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
UNTIL_FOUND = settings(
    CI,
    max_examples=1500,  # it stops at the first violation
    phases=[Phase.generate],
    database=None,
    report_multiple_bugs=False,
    print_blob=False,
)
OWNERS = st.sampled_from(["a", "b", "c"])


@dataclass
class Expected:
    """The model's state of a prediction."""

    status: Status = Status.QUEUED
    owner: str | None = None
    is_leased: bool = False
    attempt: int = 0
    outputs: tuple[Output, ...] = ()
    is_put_off: bool = False  # after a failed attempt


class Machine(RuleBasedStateMachine):
    """Several workers, a caller, a reconciler and the passing of time, in any order."""

    connection: ClassVar[Any]  # redis.Redis, whose replies have too many types
    storage: ClassVar[LocalStorage]

    known = Bundle("known")
    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.connection.flushall()
        self.queues = Queues(self.connection)
        self.store = Store(self.connection, self.queues, timedelta(days=7))
        self.maintenance = Maintenance(self.store, self.queues, self.storage)
        self.announcements = self.connection.pubsub(ignore_subscribe_messages=True)
        self.announcements.subscribe(ENDED_CHANNEL)
        self.announcements.get_message(timeout=1)
        self.model: dict[str, Expected] = {}
        self.ended: dict[str, bytes] = {}  # id -> its final record
        self.announced: Counter[str] = Counter()

    def teardown(self) -> None:
        self.announcements.close()

    @rule(target=known)
    def add(self) -> str:
        prediction_id = f"p{len(self.model)}"
        self.model[prediction_id] = Expected()
        self.store.add(a_prediction(prediction_id))
        return prediction_id

    @rule(prediction_id=known)
    def add_again(self, prediction_id: str) -> None:
        """Repeat an accept, as the client does after a lost reply."""
        self.store.add(a_prediction(prediction_id))

    @rule(target=tokens)
    def pop(self) -> Any:
        """Take a token and the next prediction, as a worker does before the claim. It may die here."""
        token = self.connection.lpop(QUEUE)
        prediction_id = token and self.queues.take(CheckpointKind.DISTILLED)
        return multiple() if prediction_id is None else prediction_id

    @rule(target=tokens, owner=OWNERS)
    def take_next(self, owner: str) -> Any:
        """Take a token, the next prediction and, if it was never changed, its claim, as a worker does."""
        token = self.connection.lpop(QUEUE)
        taken = token and self.store.take_next(CheckpointKind.DISTILLED, owner)
        if not taken:
            return multiple()
        if taken.claimed is not None:
            expected = self.model[taken.id]
            assert (expected.status, expected.attempt) == (Status.QUEUED, 0)
            assert taken.claimed == self.store.get(taken.id)
            expected.status, expected.owner, expected.is_leased = Status.RUNNING, owner, True
            expected.attempt = 1
        return taken.id

    @rule(prediction_id=tokens, owner=OWNERS)
    def claim(self, prediction_id: str, owner: str) -> None:
        """Work on a token: fresh, repeated or stale."""
        expected = self.model[prediction_id]
        is_mine = expected.status is Status.RUNNING and expected.owner == owner
        is_free = (expected.status is Status.QUEUED and not expected.is_put_off) or (
            expected.status is Status.RUNNING and not expected.is_leased
        )
        if is_mine:
            pass  # a repetition
        elif not is_free:
            self.refuse(prediction_id, lambda p, now: p.claim(owner, now))
            return
        elif expected.attempt == MAX_ATTEMPTS:
            expected.status = Status.FAILED
        else:
            expected.status, expected.owner = Status.RUNNING, owner
            expected.is_leased = True
            expected.attempt += 1
        self.store.change(prediction_id, lambda p, now: p.claim(owner, now))

    @rule(prediction_id=known, owner=OWNERS)
    def renew(self, prediction_id: str, owner: str) -> None:
        if self.moves(prediction_id, owner, lambda p, now: p.renew(owner, now)):
            self.model[prediction_id].is_leased = True

    @rule(prediction_id=known, owner=OWNERS, step=st.integers(1, 4))
    def advance(self, prediction_id: str, owner: str, step: int) -> None:
        if self.moves(prediction_id, owner, lambda p, _now: p.advance(owner, step, 4)):
            assert self.store.get(prediction_id).step == step

    @rule(prediction_id=known, owner=OWNERS)
    def release(self, prediction_id: str, owner: str) -> None:
        if self.moves(prediction_id, owner, lambda p, now: p.release(owner, now)):
            expected = self.model[prediction_id]
            expected.status, expected.owner, expected.is_leased = Status.QUEUED, None, False
            expected.attempt -= 1

    @rule(prediction_id=known, owner=OWNERS)
    def retry(self, prediction_id: str, owner: str) -> None:
        if self.moves(prediction_id, owner, lambda p, now: p.retry(owner, "no reason", now)):
            expected = self.model[prediction_id]
            if expected.attempt == MAX_ATTEMPTS:
                expected.status = Status.FAILED
                return
            expected.status, expected.owner, expected.is_leased = Status.QUEUED, None, False
            expected.is_put_off = True

    @rule(prediction_id=known)
    def gap_passes(self, prediction_id: str) -> None:
        """The delay before the next attempt ends."""
        if self.model[prediction_id].is_put_off:
            end_gap(self.store, prediction_id)
            self.model[prediction_id].is_put_off = False

    @rule(prediction_id=known, owner=OWNERS)
    def succeed(self, prediction_id: str, owner: str) -> None:
        """Publish a result: in time, late, or a second time."""
        outputs = (Output(key=f"{prediction_id}/{owner}/0.png", width=64, height=64),)
        expected = self.model[prediction_id]
        if expected.status is Status.SUCCEEDED and expected.owner == owner:
            self.store.change(prediction_id, lambda p, now: p.succeed(owner, outputs, (), now))
        elif self.moves(prediction_id, owner, lambda p, now: p.succeed(owner, outputs, (), now)):
            expected.status, expected.outputs = Status.SUCCEEDED, outputs

    @rule(prediction_id=known, owner=OWNERS)
    def fail(self, prediction_id: str, owner: str) -> None:
        expected = self.model[prediction_id]
        if expected.status is Status.FAILED and expected.owner == owner:
            self.store.change(prediction_id, lambda p, now: p.fail(owner, FAILURE, now))
        elif self.moves(prediction_id, owner, lambda p, now: p.fail(owner, FAILURE, now)):
            expected.status = Status.FAILED

    @rule(prediction_id=known)
    def cancel(self, prediction_id: str) -> None:
        if self.model[prediction_id].status.is_final:
            with pytest.raises(AlreadyFinal):
                self.store.change(prediction_id, lambda p, now: p.cancel(now))
        else:
            self.store.change(prediction_id, lambda p, now: p.cancel(now))
            self.model[prediction_id].status = Status.CANCELLED

    @rule(prediction_id=known)
    def cancel_comes_between(self, prediction_id: str) -> None:
        """A cancel changes the record between a success's decision and its write."""
        expected = self.model[prediction_id]
        owner = expected.owner
        if expected.status is not Status.RUNNING or owner is None:
            return

        def slow(prediction: Prediction, now: datetime) -> Prediction:
            if not self.model[prediction_id].status.is_final:
                self.cancel(prediction_id)
            return prediction.succeed(owner, (), (), now)

        self.refuse(prediction_id, slow)

    @rule(prediction_id=known)
    def queue_again(self, prediction_id: str) -> None:
        """A reconciler queues a prediction whose state has changed since it looked."""
        self.store.queue(self.store.get(prediction_id))

    @rule(prediction_id=known)
    def lease_passes(self, prediction_id: str) -> None:
        """The worker hangs or died: the lease is not renewed."""
        expected = self.model[prediction_id]
        if expected.is_leased and expected.status is Status.RUNNING:
            expire_lease(self.store, prediction_id)
            expected.is_leased = False

    @rule(token=consumes(tokens))
    def worker_dies(self, token: str) -> None:
        """The token is lost for good."""

    @rule()
    def time_passes(self) -> None:
        """After a long time every lease has expired, the reconciler has run, and all open predictions are in line, with tokens."""
        for prediction_id, expected in self.model.items():
            if expected.is_leased and expected.status is Status.RUNNING:
                expire_lease(self.store, prediction_id)
                expected.is_leased = False
            self.gap_passes(prediction_id)
            make_due(self.connection, prediction_id)
        for _ in range(2):  # a token must be missing twice
            self.maintenance.reconcile()
        waiting = {i.decode() for i in self.connection.zrange("klein:line:distilled:key", 0, -1)}
        still_open = {i for i, e in self.model.items() if not e.status.is_final}

        assert still_open <= waiting
        assert self.connection.llen(QUEUE) >= len(still_open)

    @invariant()
    def the_records_are_as_expected(self) -> None:
        for prediction_id, expected in self.model.items():
            prediction = self.store.get(prediction_id)
            assert prediction.status is expected.status
            assert prediction.attempt == expected.attempt
            assert prediction.outputs == expected.outputs
            if prediction.status is Status.RUNNING:
                assert prediction.owner == expected.owner
            if prediction.status is Status.SUCCEEDED:
                assert prediction.outputs[0].key == f"{prediction_id}/{prediction.owner}/0.png"

    @invariant()
    def what_has_ended_stays(self) -> None:
        """A final record never changes, and was announced and dated exactly once."""
        while message := self.announcements.get_message(timeout=0):
            self.announced[message["data"].partition(b"\n")[0].decode()] += 1
        final = {i for i, e in self.model.items() if e.status.is_final}
        for prediction_id in final:
            record = self.connection.get(record_key(prediction_id))
            assert self.ended.setdefault(prediction_id, record) == record

        assert self.announced == Counter(final)
        assert {i.decode() for i in self.connection.zrange(EXPIRY, 0, -1)} == final

    @invariant()
    def what_is_open_is_looked_at(self) -> None:
        """The open set holds exactly the predictions that have not ended."""
        assert {i.decode() for i in self.connection.zrange(OPEN, 0, -1)} == {
            i for i, e in self.model.items() if not e.status.is_final
        }

    def moves(self, prediction_id: str, owner: str, transition: Any) -> bool:
        """Make an owner's transition. Return whether the model allows it, and check that the store agrees."""
        expected = self.model[prediction_id]
        if expected.status is Status.RUNNING and expected.owner == owner:
            self.store.change(prediction_id, transition)
            return True
        self.refuse(prediction_id, transition)
        return False

    def refuse(self, prediction_id: str, transition: Any) -> None:
        with pytest.raises(LeaseLost):
            self.store.change(prediction_id, transition)


@pytest.fixture
def machine(redis_server, tmp_path):
    """The machine on an empty Redis that does not sync to disk."""
    with redis_server.connect() as connection:
        connection.config_set("appendfsync", "no")
        yield type(
            "OnRedis",
            (Machine,),
            {"connection": connection, "storage": LocalStorage(tmp_path)},
        )
        connection.config_set("appendfsync", "always")


@pytest.mark.timeout(400)  # it ends by itself; a busy machine takes minutes
def test_state_machine_keeps_invariants(machine):
    """With any callers, workers, deaths and delays each prediction ends once, none is lost, and only owners succeed."""
    run_state_machine_as_test(machine, settings=CI)


MUTANTS = {
    "no fence": (Prediction, "_require", lambda _self, _owner: None),
    "no reconciler": (Maintenance, "reconcile", lambda _self: None),
    "no compare": (scripts, "END", edited(scripts.END, "return 0", "local lost = 0")),
    "an accept that overwrites": (scripts, "ADD", edited(scripts.ADD, ", 'NX')", ")")),
    "a claim of anything": (
        scripts,
        "TAKE_NEXT",
        edited(scripts.TAKE_NEXT, "record:find(field, 1, true)", "false"),
    ),
    "no lease": (Prediction, "is_leased", lambda _self, _now: False),
}


@pytest.mark.slow
@pytest.mark.timeout(400)  # it ends by itself; a busy machine takes minutes
@pytest.mark.parametrize("mutant", MUTANTS)
def test_state_machine_detects_broken_store(machine, mutant, monkeypatch):
    """With one safeguard removed, the machine fails."""
    target, name, broken = MUTANTS[mutant]
    monkeypatch.setattr(target, name, broken)  # a mutant needs patching

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_state_machine_as_test(machine, settings=UNTIL_FOUND)
