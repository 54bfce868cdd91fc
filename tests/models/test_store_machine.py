"""Whatever happens in whatever order, the store keeps its promises: no row is lost, doubled or owned twice.

A model in plain Python is told the same things as the store, and each answer must be what it says. After every step
all that the store knows is compared with the model: states and attempts, who holds what, and which rows there are.
Time does not pass: a lease is either long or has already run out.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select, text

from tests.builders import DIM, add_batches, generations, make_job
from unembed.codes import FailureCode
from unembed.errors import ConflictError, NotFoundError
from unembed.models.store import Beat, Store
from unembed.models.store.sql import GENERATIONS
from unembed.schemas import Batch, BatchState, JobState, RowStatus, Timings

LONG, LAPSED = 600.0, -1.0
WORKERS = ("one", "two")

place = st.integers(0, 2)  # of a batch in its job


@dataclass
class Expected:
    """What a batch should be."""

    batch: Batch
    allowed: int
    state: BatchState = BatchState.QUEUED
    attempt: int = 0
    holder: str | None = None  # the worker that has it, or had it last
    lapsed: bool = False
    has_payload: bool = True
    unwritten: int = 0

    @property
    def runs(self) -> bool:
        return self.state is BatchState.RUNNING

    def become(self, state: BatchState) -> None:
        self.state, self.lapsed, self.unwritten = state, False, 0


@dataclass
class Plain:
    """One job, as it should be."""

    job_id: str
    batches: list[Expected]
    cancelled: bool = False
    began: bool = False
    removed: bool = False

    @property
    def ended(self) -> bool:
        return all(known.state.is_ended for known in self.batches)

    def in_state(self, state: BatchState) -> list[Expected]:
        return [known for known in self.batches if known.state is state]

    @property
    def state(self) -> JobState:
        if not self.ended:
            if self.cancelled:
                return JobState.CANCELLING
            return JobState.RUNNING if self.began else JobState.QUEUED
        if self.cancelled:
            return JobState.CANCELLED
        done = self.in_state(BatchState.DONE)
        if not done:
            return JobState.FAILED
        return JobState.SUCCEEDED if len(done) == len(self.batches) else JobState.PARTIAL


def has_begun(machine: StoreMachine) -> bool:
    """Before the first claim most of what may happen would come to nothing."""
    return bool(machine.attempts)


class StoreMachine(RuleBasedStateMachine):
    """Given a job of three batches, any of these may happen next."""

    store: Store
    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        with self.engine.begin() as connection:
            connection.execute(text("DELETE FROM jobs"))
            connection.execute(text("DELETE FROM totals"))
        self.attempts: set[tuple[str, int]] = set()  # every number that was ever given out

    @initialize()
    def submit(self) -> None:
        batches = add_batches(self.store, make_job(self.store), (1, 2, 1))
        self.plain = Plain(batches[0].job_id, [Expected(batch, self.store.settings.max_attempts) for batch in batches])

    def at(self, place: int) -> Expected:
        return self.plain.batches[place]

    # --- attempts ----------------------------------------------------------------------------------------------------

    @rule(place=place, worker=st.sampled_from(WORKERS), lease=st.sampled_from([LONG, LONG, LAPSED]))
    def claim(self, place: int, worker: str, lease: float) -> None:
        known = self.at(place)
        free = known.state is BatchState.QUEUED or (known.runs and known.lapsed)
        claim = self.store.attempts.claim(known.batch.id, worker, lease, f"message of {known.batch.id}")
        could = free and known.attempt < known.allowed and not self.plain.cancelled and not self.plain.removed
        assert (claim is not None) == could
        if claim is not None:
            known.become(BatchState.RUNNING)
            known.attempt, known.lapsed = known.attempt + 1, lease < 0
            known.holder, self.plain.began = worker, True
            assert claim.attempt == known.attempt
            assert (known.batch.id, claim.attempt) not in self.attempts, "no number is given out twice"
            self.attempts.add((known.batch.id, claim.attempt))

    @precondition(lambda self: self.plain.in_state(BatchState.QUEUED))
    @rule(worker=st.sampled_from(WORKERS))
    def take_the_next(self, worker: str) -> None:
        """As a worker does; without it, too few batches would ever run at once."""
        self.claim(self.plain.batches.index(self.plain.in_state(BatchState.QUEUED)[0]), worker, LONG)

    @precondition(has_begun)
    @rule(place=place)
    def beat(self, place: int) -> None:
        known = self.at(place)
        beat = self.store.attempts.heartbeat(known.batch.id, known.attempt, LONG, known.batch.rows)
        if known.runs:
            known.lapsed, known.unwritten = False, known.batch.rows
            assert beat is (Beat.CANCELLED if self.plain.cancelled else Beat.ALIVE)
        else:
            assert beat is Beat.FENCED

    @precondition(has_begun)
    @rule(place=place)
    def finish(self, place: int) -> None:
        known = self.at(place)
        again = known.state is BatchState.DONE and not self.plain.removed
        finished = self.store.attempts.finish(known.batch.id, known.attempt, generations(known.batch), Timings())
        assert finished is (known.runs or again)
        if known.runs:
            known.become(BatchState.DONE)

    @precondition(has_begun)
    @rule(place=place, final=st.booleans(), lost=st.booleans())
    def fail(self, place: int, final: bool, lost: bool) -> None:
        known = self.at(place)
        code = FailureCode.PAYLOAD_MISSING if final and lost else "decode_failed"
        state = self.store.attempts.fail(known.batch.id, known.attempt, code, "error", final=final)
        if not known.runs:
            assert state is None
            return
        dead = BatchState.DEAD if final or known.attempt >= known.allowed else BatchState.QUEUED
        known.become(BatchState.CANCELLED if self.plain.cancelled else dead)
        known.has_payload = known.has_payload and code != FailureCode.PAYLOAD_MISSING
        assert state is known.state

    @precondition(has_begun)
    @rule(place=place)
    def release(self, place: int) -> None:
        known = self.at(place)
        assert self.store.attempts.release(known.batch.id, known.attempt) is known.runs
        if known.runs:
            known.allowed += not self.plain.cancelled
            known.become(BatchState.CANCELLED if self.plain.cancelled else BatchState.QUEUED)

    @precondition(has_begun)
    @rule(place=place)
    def stop(self, place: int) -> None:
        known = self.at(place)
        could = self.plain.cancelled and known.runs
        assert self.store.attempts.cancel_running(known.batch.id, known.attempt) is could
        if could:
            known.become(BatchState.CANCELLED)

    @precondition(has_begun)
    @rule(place=place, back=st.integers(1, 2))
    def stale(self, place: int, back: int) -> None:
        """Everything that an attempt before the last one may try is refused."""
        known = self.at(place)
        earlier = known.attempt - back
        assert self.store.attempts.heartbeat(known.batch.id, earlier, LONG) is Beat.FENCED
        assert self.store.attempts.finish(known.batch.id, earlier, generations(known.batch), Timings()) is False
        assert self.store.attempts.fail(known.batch.id, earlier, "code", "error") is None
        assert self.store.attempts.release(known.batch.id, earlier) is False
        assert self.store.attempts.cancel_running(known.batch.id, earlier) is False

    # --- what was lost -----------------------------------------------------------------------------------------------

    @precondition(has_begun)
    @rule()
    def sweep(self) -> None:
        lapsed = [known for known in self.plain.batches if known.runs and known.lapsed]
        swept = self.store.sweeping.sweep(0)
        for known in lapsed:
            self.taken_back(known)
        assert len(swept.expired) == len(lapsed)
        assert swept.dead == sum(known.state is BatchState.DEAD for known in lapsed)
        # Nothing was ever marked as published, so whatever waits is to be sent, but for what waits for its back-off.
        assert set(swept.publish) == {known.batch.id for known in self.plain.in_state(BatchState.QUEUED)}

    @precondition(has_begun)
    @rule(worker=st.sampled_from(WORKERS), place=st.none() | place)
    def worker_dies(self, worker: str, place: int | None) -> None:
        """Its main process, or its child in the middle of one batch."""
        only = None if place is None else self.at(place).batch.id
        held = [known for known in self.plain.batches if known.runs and known.holder == worker]
        held = [known for known in held if only in (None, known.batch.id)]
        taken = self.store.sweeping.reclaim(worker, only and f"message of {only}")
        assert {attempt.batch_id for attempt in taken} == {known.batch.id for known in held}
        for known in held:
            self.taken_back(known)

    def taken_back(self, known: Expected) -> None:
        again = BatchState.QUEUED if known.attempt < known.allowed else BatchState.DEAD
        known.become(BatchState.CANCELLED if self.plain.cancelled else again)

    @precondition(has_begun)
    @rule(place=place)
    def lose_payload(self, place: int) -> None:
        known = self.at(place)
        waits = known.state is BatchState.QUEUED
        assert self.payload_is_lost(known) == waits
        if waits:
            known.become(BatchState.DEAD)
            known.has_payload = False

    def payload_is_lost(self, known: Expected) -> int:
        if self.plain.removed:
            with pytest.raises(NotFoundError):
                self.store.sweeping.fail_missing_payloads([known.batch.id])
            return 0
        return self.store.sweeping.fail_missing_payloads([known.batch.id])

    # --- what a client asks for --------------------------------------------------------------------------------------

    @precondition(lambda self: has_begun(self) and not self.plain.removed)
    @rule(place=place)
    def send_again(self, place: int) -> None:
        """The same vectors once more, as the API takes them: recorded, and queued where they were lacking."""
        known = self.at(place)
        batch = known.batch
        nbytes = batch.rows * DIM * 4
        found, added = self.store.jobs.add_batch(
            batch.job_id, batch.ordinal, batch.first_index, batch.rows, nbytes, batch.sha256
        )
        assert (found.id, added) == (batch.id, False)
        if self.plain.cancelled:
            with pytest.raises(ConflictError):
                self.store.requeue.after_resend(batch.id)
            return
        assert self.store.requeue.after_resend(batch.id).state is (
            BatchState.QUEUED if known.state is BatchState.DEAD else known.state
        )
        if known.state is BatchState.DEAD:
            self.revived(known)
            known.has_payload = True

    @precondition(lambda self: has_begun(self) and not self.plain.removed)
    @rule()
    def retry(self) -> None:
        """The dead batches whose payloads are there."""
        dead = [known for known in self.plain.in_state(BatchState.DEAD) if known.has_payload]
        ids = [known.batch.id for known in self.plain.batches if known.has_payload]
        if self.plain.cancelled or not dead:
            with pytest.raises(ConflictError):
                self.store.requeue.retry(self.plain.job_id, ids)
            return
        self.store.requeue.retry(self.plain.job_id, ids)
        for known in dead:
            self.revived(known)

    def revived(self, known: Expected) -> None:
        known.become(BatchState.QUEUED)
        known.allowed = known.attempt + self.store.settings.max_attempts

    @precondition(lambda self: not self.plain.removed and len(self.attempts) > 2)  # not before much has happened
    @rule()
    def cancel(self) -> None:
        if self.plain.ended and not self.plain.cancelled:
            with pytest.raises(ConflictError):
                self.store.jobs.cancel(self.plain.job_id)
            return
        self.store.jobs.cancel(self.plain.job_id)
        self.plain.cancelled = True
        for known in self.plain.in_state(BatchState.QUEUED):
            known.become(BatchState.CANCELLED)

    @precondition(lambda self: not self.plain.removed and len(self.attempts) > 2)
    @rule()
    def remove(self) -> None:
        if not self.plain.ended:
            with pytest.raises(ConflictError):
                self.store.jobs.remove(self.plain.job_id)
            return
        assert set(self.store.jobs.remove(self.plain.job_id)) == {known.batch.id for known in self.plain.batches}
        self.plain.removed = True
        for known in self.plain.batches:
            known.become(BatchState.CANCELLED)  # nobody can do anything with it any more

    # --- after every step --------------------------------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "plain"):
            return
        if self.plain.removed:
            with pytest.raises(NotFoundError):
                self.store.jobs.get(self.plain.job_id)
            assert self.rows() == []
            assert self.store.totals.stored_rows() == dict.fromkeys(RowStatus, 0)
            return
        waiting = self.plain.in_state(BatchState.QUEUED)
        assert self.store.queue.first_in_turn() == (waiting[0].batch.id if waiting else None)
        job = self.store.jobs.get(self.plain.job_id)
        assert job.state is self.plain.state
        dead, done = self.plain.in_state(BatchState.DEAD), self.plain.in_state(BatchState.DONE)
        assert job.rows.error == sum(known.batch.rows for known in dead)
        assert job.rows.ok == sum(known.batch.rows for known in done)
        in_all = {RowStatus.OK: job.rows.ok, RowStatus.FALLBACK: job.rows.fallback, RowStatus.ERROR: job.rows.error}
        assert self.store.totals.stored_rows() == in_all
        assert job.rows.unwritten == sum(known.unwritten for known in self.plain.batches)
        for batch, known in zip(self.store.jobs.batches(self.plain.job_id), self.plain.batches, strict=True):
            assert (batch.state, batch.attempt, batch.max_attempts) == (known.state, known.attempt, known.allowed)
            assert batch.worker == known.holder
        assert self.rows() == [
            (index, known.batch.id)
            for known in self.plain.in_state(BatchState.DONE)
            for index in range(known.batch.first_index, known.batch.first_index + known.batch.rows)
        ]

    def rows(self) -> list[tuple[int, str]]:
        """Every row that there is, with its batch."""
        columns = (GENERATIONS.c["index"], GENERATIONS.c.batch_id)
        with self.engine.connect() as connection:
            found = connection.execute(select(*columns).where(GENERATIONS.c.job_id == self.plain.job_id))
            return sorted(tuple(row) for row in found)


def test_the_store_agrees_with_a_model_of_it(store: Store, engine: Engine) -> None:
    machine = type("Machine", (StoreMachine,), {"store": store, "engine": engine})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
