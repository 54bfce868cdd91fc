"""Whatever happens in whatever order, the store keeps its promises: at most one attempt, rows once, no batch lost.

A model in plain Python is told the same things as the store; each answer, and the end, must be what it says. Time does
not pass: a lease is either long or has already run out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from models.settings import Settings
from models.store import Beat, Store
from tests.builders import add_batches, generations, make_job
from unembed.errors import ConflictError
from unembed.schemas import Batch, BatchState, JobState, Timings

LONG, LAPSED = 600.0, -1.0
ACTIONS = (
    "claim",
    "claim_lapsed",
    "beat",
    "finish",
    "fail",
    "fail_final",
    "release",
    "stop",
    "stale",
    "sweep",
    "cancel",
)


@dataclass
class Expected:
    """What a batch should be."""

    state: BatchState = BatchState.QUEUED
    attempt: int = 0
    allowed: int = 3
    lapsed: bool = False

    def end(self, state: BatchState) -> None:
        self.state, self.lapsed = state, False


@dataclass
class Model:
    store: Store
    batches: list[Batch]
    cancelled: bool = False
    expected: dict[str, Expected] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.expected = {batch.id: Expected() for batch in self.batches}

    def claim(self, batch: Batch, lease: float) -> None:
        known = self.expected[batch.id]
        free = known.state is BatchState.QUEUED or (known.state is BatchState.RUNNING and known.lapsed)
        claim = self.store.claim(batch.id, "worker", lease)
        assert (claim is not None) == (free and known.attempt < known.allowed and not self.cancelled)
        if claim is not None:
            known.state, known.attempt, known.lapsed = BatchState.RUNNING, known.attempt + 1, lease < 0
            assert claim.attempt == known.attempt

    def beat(self, batch: Batch) -> None:
        known = self.expected[batch.id]
        beat = self.store.heartbeat(batch.id, known.attempt, LONG)
        if known.state is BatchState.RUNNING:
            known.lapsed = False
            assert beat is (Beat.CANCELLED if self.cancelled else Beat.ALIVE)
        else:
            assert beat is Beat.FENCED

    def finish(self, batch: Batch) -> None:
        known = self.expected[batch.id]
        could = known.state in (BatchState.RUNNING, BatchState.DONE)
        assert self.store.finish(batch.id, known.attempt, generations(batch), Timings()) is could
        if could:
            known.end(BatchState.DONE)

    def fail(self, batch: Batch, *, final: bool) -> None:
        known = self.expected[batch.id]
        state = self.store.fail(batch.id, known.attempt, "code", "error", final=final)
        if known.state is not BatchState.RUNNING:
            assert state is None
            return
        dead = BatchState.DEAD if final or known.attempt >= known.allowed else BatchState.QUEUED
        known.end(BatchState.CANCELLED if self.cancelled else dead)
        assert state is known.state

    def release(self, batch: Batch) -> None:
        known = self.expected[batch.id]
        assert self.store.release(batch.id, known.attempt) is (known.state is BatchState.RUNNING)
        if known.state is BatchState.RUNNING:
            known.allowed += not self.cancelled
            known.end(BatchState.CANCELLED if self.cancelled else BatchState.QUEUED)

    def stop(self, batch: Batch) -> None:
        known = self.expected[batch.id]
        could = self.cancelled and known.state is BatchState.RUNNING
        assert self.store.cancel_running(batch.id, known.attempt) is could
        if could:
            known.end(BatchState.CANCELLED)

    def stale(self, batch: Batch) -> None:
        """Everything that an attempt before the last one may try is refused."""
        earlier = self.expected[batch.id].attempt - 1
        assert self.store.heartbeat(batch.id, earlier, LONG) is Beat.FENCED
        assert self.store.finish(batch.id, earlier, generations(batch), Timings()) is False
        assert self.store.fail(batch.id, earlier, "code", "error") is None
        assert self.store.release(batch.id, earlier) is False
        assert self.store.cancel_running(batch.id, earlier) is False

    def sweep(self) -> None:
        lapsed = [known for known in self.expected.values() if known.state is BatchState.RUNNING and known.lapsed]
        for known in lapsed:
            again = BatchState.QUEUED if known.attempt < known.allowed else BatchState.DEAD
            known.end(BatchState.CANCELLED if self.cancelled else again)
        swept = self.store.sweep()
        assert swept.expired == len(lapsed)
        assert swept.dead == sum(known.state is BatchState.DEAD for known in lapsed)
        # Nothing was ever marked as published, so whatever waits is to be sent
        waiting = {batch_id for batch_id, known in self.expected.items() if known.state is BatchState.QUEUED}
        assert set(swept.publish) == waiting

    def cancel(self) -> None:
        if self.ended() and not self.cancelled:
            with pytest.raises(ConflictError):
                self.store.cancel(self.batches[0].job_id)
            return
        self.store.cancel(self.batches[0].job_id)
        self.cancelled = True
        for known in self.expected.values():
            if known.state is BatchState.QUEUED:
                known.end(BatchState.CANCELLED)

    def ended(self) -> bool:
        return all(known.state.is_ended for known in self.expected.values())

    def state(self) -> JobState:
        if not self.ended():
            if self.cancelled:
                return JobState.CANCELLING
            touched = any(known.attempt for known in self.expected.values())
            return JobState.RUNNING if touched else JobState.QUEUED
        if self.cancelled:
            return JobState.CANCELLED
        done = sum(known.state is BatchState.DONE for known in self.expected.values())
        if done == 0:
            return JobState.FAILED
        return JobState.SUCCEEDED if done == len(self.batches) else JobState.PARTIAL

    def agrees(self) -> None:
        job_id = self.batches[0].job_id
        for batch in self.store.batches(job_id):
            known = self.expected[batch.id]
            assert (batch.state, batch.attempt, batch.max_attempts) == (known.state, known.attempt, known.allowed)
        assert self.store.job(job_id).state is self.state()
        done = [batch for batch in self.batches if self.expected[batch.id].state is BatchState.DONE]
        rows = [row.index for row in self.store.generations(job_id, order="index").generations]
        assert rows == [index for batch in done for index in range(batch.first_index, batch.first_index + batch.rows)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2)), min_size=5, max_size=25))
def test_the_store_agrees_with_a_model_of_it(store: Store, engine: Engine, steps: list[tuple[str, int]]) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs"))
    model = Model(store, add_batches(store, make_job(store), (1, 2, 1)))
    for action, position in steps:
        batch = model.batches[position]
        {
            "claim": lambda batch=batch: model.claim(batch, LONG),
            "claim_lapsed": lambda batch=batch: model.claim(batch, LAPSED),
            "beat": lambda batch=batch: model.beat(batch),
            "finish": lambda batch=batch: model.finish(batch),
            "fail": lambda batch=batch: model.fail(batch, final=False),
            "fail_final": lambda batch=batch: model.fail(batch, final=True),
            "release": lambda batch=batch: model.release(batch),
            "stop": lambda batch=batch: model.stop(batch),
            "stale": lambda batch=batch: model.stale(batch),
            "sweep": model.sweep,
            "cancel": model.cancel,
        }[action]()
    model.agrees()


def test_the_model_counts_attempts_as_the_settings_do(settings: Settings) -> None:
    assert settings.max_attempts == Expected().allowed
