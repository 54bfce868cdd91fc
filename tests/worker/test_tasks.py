from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.builders import DIM, read
from tests.worker.stubs import StubDecoder
from unembed.errors import QueueUnavailableError, StoreUnavailableError, UnknownDecoderError
from unembed.models.payloads import Payloads
from unembed.models.store import Claim, Store
from unembed.schemas import Batch, BatchState, DecodeOptions, JobState, RowStatus
from unembed.worker import tasks
from unembed.worker.context import Context
from unembed.worker.runtime import Decoders
from unembed.worker.tasks import run

Queued = Callable[..., Batch]


def batch_of(store: Store, batch: Batch) -> Batch:
    (found,) = store.jobs.batches(batch.job_id)
    return found


def by_twos(context: Context) -> Context:
    """So that something can happen in the middle of a batch: two rows are decoded at a time."""
    texts = 2 * DecodeOptions().candidates  # a micro-batch counts texts, and the jobs here name no options
    return replace(context, settings=context.settings.model_copy(update={"micro_batch": texts, "heartbeat": 0.001}))


def test_a_batch_is_claimed_decoded_and_finished(context: Context, store: Store, queued: Queued) -> None:
    # Given a batch with ids, and one bad row
    vectors = np.ones((4, DIM), dtype=np.float16)
    vectors[2] = np.nan
    batch = queued(vectors, ["a", "b", "c", "d"])
    # When its message arrives
    outcome = run(batch.id, context)
    # Then its rows are written, the bad one among them, and the batch says who did it and where the time went
    assert (outcome["outcome"], outcome["attempt"], outcome["rows"]) == ("done", 1, 4)
    rows = read(store, batch.job_id, order="index")
    assert [(row.index, row.id, row.text, row.error_code) for row in rows] == [
        (0, "a", "text 0", None),
        (1, "b", "text 1", None),
        (2, "c", None, "not_finite"),
        (3, "d", "text 3", None),
    ]
    done = batch_of(store, batch)
    assert (done.state, done.worker, done.device, done.precision, done.peak_memory_bytes) == (
        BatchState.DONE,
        "cpu0@here",
        "stub",
        "float32",
        12345,
    )
    assert done.timings.load_ms > 0
    assert store.jobs.get(batch.job_id).state is JobState.PARTIAL
    # And its payload is gone, and the worker is counted
    assert context.payloads.present([batch.id]) == []
    (worker,) = store.workers.all()
    assert (worker.name, worker.batches_done, worker.rows_done, worker.device) == ("cpu0@here", 1, 4, "stub")
    assert (worker.precision, worker.engine) == ("float32", "torch")


def test_the_same_message_again_does_nothing(
    context: Context, store: Store, queued: Queued, decoder: StubDecoder
) -> None:
    # Given a batch that is done
    batch = queued()
    run(batch.id, context)
    # When its message comes five times more
    outcomes = [run(batch.id, context)["outcome"] for _ in range(5)]
    # Then nothing is decoded and nothing is written
    assert outcomes == ["not claimed"] * 5
    assert len(decoder.calls) == 1
    assert batch_of(store, batch).attempt == 1


def test_a_message_without_a_batch_does_nothing(context: Context) -> None:
    assert run("nothing-0", context)["outcome"] == "not claimed"


def test_a_cancel_is_seen_between_two_micro_batches(
    context: Context, store: Store, queued: Queued, decoder: StubDecoder
) -> None:
    # Given a batch whose job is cancelled while it is decoded
    batch = queued()

    def before(_: Sequence[int]) -> None:
        if len(decoder.calls) == 2:
            store.jobs.cancel(batch.job_id)
            time.sleep(0.02)  # longer than the heart's interval: the next check asks

    decoder.before = before
    # When it is decoded
    outcome = run(batch.id, by_twos(context))
    # Then it stops there, writes nothing, and the job has ended
    assert outcome["outcome"] == "cancelled"
    assert len(decoder.calls) == 2
    assert batch_of(store, batch).state is BatchState.CANCELLED
    assert store.jobs.get(batch.job_id).state is JobState.CANCELLED
    assert read(store, batch.job_id) == []
    assert context.payloads.present([batch.id]) == []


def test_an_attempt_that_lost_its_batch_never_commits(
    context: Context, store: Store, queued: Queued, decoder: StubDecoder
) -> None:
    # Given a slow worker, whose batch is taken by another one at the last micro-batch
    batch = queued()

    def before(indices: Sequence[int]) -> None:
        if indices[-1] == 9 and len(decoder.calls) <= 5:
            assert store.attempts.release(batch.id, 1)
            assert store.attempts.claim(batch.id, "other", 60) is not None

    decoder.before = before
    # When the slow one comes to its end
    outcome = run(batch.id, by_twos(context))
    # Then it has written nothing, and the other one still has the batch
    assert outcome["outcome"] == "fenced"
    assert read(store, batch.job_id) == []
    found = batch_of(store, batch)
    assert (found.state, found.worker) == (BatchState.RUNNING, "other")
    assert context.payloads.present([batch.id]) == [batch.id]


def test_a_worker_that_shuts_down_hands_its_batch_back(
    context: Context, store: Store, queued: Queued, decoder: StubDecoder, published: list[str]
) -> None:
    # Given a worker that is told to stop while it decodes
    batch = queued()

    def before(_: Sequence[int]) -> None:
        context.stopping.set()

    decoder.before = before
    # When its micro-batch ends
    outcome = run(batch.id, by_twos(context))
    # Then the batch waits again, the others are told, and no attempt is lost
    assert outcome["outcome"] == "handed back"
    assert len(decoder.calls) == 1
    waiting = batch_of(store, batch)
    assert waiting.state is BatchState.QUEUED
    assert waiting.max_attempts - waiting.attempt == context.settings.max_attempts
    assert published == [batch.id]
    # And the next worker does it
    decoder.before = lambda _: None
    context.stopping.clear()
    assert run(batch.id, context)["outcome"] == "done"


def test_a_message_is_answered_with_the_batch_whose_turn_it_is(
    context: Context, store: Store, queued: Queued, decoder: StubDecoder
) -> None:
    # Given two batches, and messages that name the second of them only
    first, second = queued(), queued()
    next_one = store.queue.first_in_turn()
    # When a message is answered / Then it is with the batch that is next
    named = second.id if next_one == first.id else first.id
    outcome = run(named, context, message="of the other")
    assert (outcome["batch"], outcome["outcome"]) == (next_one, "done")
    # And the same message once more does the other: no batch needs its own
    assert run(named, context)["batch"] == named
    assert run(named, context) == {"batch": named, "outcome": "not claimed"}


def test_a_worker_that_was_too_slow_takes_the_next_batch(
    context: Context, store: Store, queued: Queued, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given another worker that takes the batch that is next, just before this one does
    batches = {queued().id, queued().id}
    claim, taken = store.attempts.claim, []

    def slow(batch_id: str, *arguments: Any, **how: Any) -> Claim | None:
        if not taken:
            taken.append(batch_id)
            claim(batch_id, "another@elsewhere", 60.0)
        return claim(batch_id, *arguments, **how)

    monkeypatch.setattr(store.attempts, "claim", slow)
    # Then it does the one after it
    outcome = run("whichever-0", context)
    assert {taken[0], outcome["batch"]} == batches


def test_how_far_a_batch_is_can_be_seen_while_it_runs(
    context: Context, store: Store, queued: Queued, decoder: StubDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a batch of ten rows, decoded by twos, and a heart that is asked before each
    monkeypatch.setattr("unembed.worker.heartbeat.PROMPT", 0.0)
    batch = queued()
    seen: list[int] = []
    decoder.before = lambda _: seen.append(store.jobs.get(batch.job_id).rows.done)
    # When it is decoded, Then the job's rows were counted as they were decoded
    assert run(batch.id, by_twos(context))["outcome"] == "done"
    assert seen == [0, 2, 4, 6, 8]
    assert store.jobs.get(batch.job_id).rows.done == 10


def test_a_batch_handed_back_without_redis_waits_for_the_sweeper(
    context: Context, store: Store, queued: Queued, decoder: StubDecoder
) -> None:
    def unreachable(_: str) -> None:
        raise QueueUnavailableError

    batch = queued()
    context.stopping.set()
    assert run(batch.id, replace(context, publish=unreachable))["outcome"] == "handed back"
    assert store.sweeping.sweep(0).publish == [batch.id]


def test_a_batch_that_always_fails_is_dead_after_its_attempts(
    context: Context, store: Store, queued: Queued, decoder: StubDecoder
) -> None:
    # Given a poisoned batch
    batch = queued()

    def before(_: Sequence[int]) -> None:
        raise RuntimeError("the decoder is unwell")

    decoder.before = before
    # When its message comes more often than it has attempts
    outcomes = [run(batch.id, context)["outcome"] for _ in range(5)]
    # Then it was tried so often and no more, and is kept with the reason
    assert outcomes == ["failed, now queued", "failed, now queued", "failed, now dead", "not claimed", "not claimed"]
    dead = batch_of(store, batch)
    assert (dead.state, dead.error_code, dead.error) == (
        BatchState.DEAD,
        "decode_failed",
        "RuntimeError: the decoder is unwell",
    )
    assert store.jobs.get(batch.job_id).state is JobState.FAILED


def test_a_batch_whose_payload_is_gone_is_dead_at_once(context: Context, store: Store, queued: Queued) -> None:
    batch = queued()
    context.payloads.delete([batch.id])
    assert run(batch.id, context)["outcome"] == "failed, now dead"
    assert batch_of(store, batch).error_code == "payload_missing"


def test_a_batch_whose_payload_was_changed_is_dead_at_once(context: Context, store: Store, queued: Queued) -> None:
    batch = queued()
    context.payloads.put(batch.id, b"something else")
    assert run(batch.id, context)["outcome"] == "failed, now dead"
    assert batch_of(store, batch).error_code == "payload_damaged"


def test_embeddings_of_another_dimension_are_dead_at_once(context: Context, store: Store, queued: Queued) -> None:
    # Given a worker whose decoder is not the one that the API checked the job against
    batch = queued()
    other = replace(context, decoders=Decoders(lambda _: StubDecoder(dim=9)))
    assert run(batch.id, other)["outcome"] == "failed, now dead"
    dead = batch_of(store, batch)
    assert dead.error_code == "dimension"
    assert "4 dimensions" in str(dead.error)
    assert "9" in str(dead.error)


def test_a_decoder_that_this_worker_lacks_leaves_the_batch_to_others(
    context: Context, store: Store, queued: Queued
) -> None:
    def unknown(name: str) -> StubDecoder:
        raise UnknownDecoderError(f"unknown decoder {name!r}; there are: none")

    batch = queued()
    assert run(batch.id, replace(context, decoders=Decoders(unknown)))["outcome"] == "failed, now queued"
    assert batch_of(store, batch).error_code == "unknown_decoder"
    assert run(batch.id, context)["outcome"] == "done"


def test_out_of_memory_with_one_row_fails_the_attempt_and_not_the_worker(
    context: Context, store: Store, queued: Queued, decoder: StubDecoder
) -> None:
    def before(_: Sequence[int]) -> None:
        raise MemoryError

    batch = queued()
    decoder.before = before
    assert run(batch.id, context)["outcome"] == "failed, now queued"
    assert batch_of(store, batch).error_code == "out_of_memory"


def test_payloads_that_cannot_be_reached_fail_the_attempt(context: Context, store: Store, queued: Queued) -> None:
    batch = queued()
    away = Payloads(redis.Redis(unix_socket_path="/nowhere/redis.sock", retry=Retry(NoBackoff(), 0)), 60)
    assert run(batch.id, replace(context, payloads=away))["outcome"] == "failed, now queued"
    assert batch_of(store, batch).error_code == "queue_unavailable"


def test_a_database_that_is_away_for_a_moment_does_not_waste_the_work(
    context: Context, store: Store, queued: Queued, decoder: StubDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a database that refuses the first two attempts to finish
    monkeypatch.setattr(tasks, "_PATIENCE", (0.01, 0.01, 0.01))
    batch = queued()
    finish, refusals = store.attempts.finish, iter([StoreUnavailableError(), StoreUnavailableError()])

    def refused_twice(*args: object, **kwargs: object) -> bool:
        for refusal in refusals:
            raise refusal
        return finish(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(store.attempts, "finish", refused_twice)
    # When the batch is decoded / Then it is done in the first attempt, and was decoded once
    assert run(batch.id, context)["outcome"] == "done"
    assert len(decoder.calls) == 1
    rows = read(store, batch.job_id)
    assert [row.status for row in rows] == [RowStatus.OK] * 10


def test_a_job_with_a_batch_of_error_rows_alone_has_failed(context: Context, store: Store, queued: Queued) -> None:
    batch = queued(np.zeros((3, DIM), dtype=np.float32))
    assert run(batch.id, context)["outcome"] == "done"
    assert store.jobs.get(batch.job_id).state is JobState.FAILED
