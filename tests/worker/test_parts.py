"""A worker writes the rows of a batch to a file, where its job asks for that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.builders import DIM, make_job, read
from tests.worker.stubs import StubDecoder
from unembed.corpus import encode_payload
from unembed.models.parts import Parts
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.schemas import Batch, BatchState, JobState
from unembed.worker.context import Context
from unembed.worker.sweeper import Sweeper
from unembed.worker.tasks import run

Queued = Callable[[], Batch]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return tmp_path / "texts"


@pytest.fixture
def settings(settings: Settings, texts: Path) -> Settings:
    return settings.model_copy(update={"results_roots": (f"file://{texts}",)})


@pytest.fixture
def context(context: Context, settings: Settings) -> Context:
    return replace(context, parts=Parts(settings.results_roots))


@pytest.fixture
def queued(store: Store, context: Context, texts: Path) -> Queued:
    """A sealed job of one batch, whose rows are to be in files."""

    def submit() -> Batch:
        data = encode_payload(np.random.default_rng(0).normal(size=(6, DIM)).astype(np.float32))
        job = make_job(store, results_uri=f"file://{texts}")
        batch, _ = store.jobs.add_batch(job.id, 0, 0, 6, len(data), hashlib.sha256(data).hexdigest())
        context.payloads.put(batch.id, data)
        store.jobs.seal(job.id, 1, 6)
        return batch

    return submit


def names(texts: Path) -> list[str]:
    return sorted(path.name for path in texts.iterdir()) if texts.exists() else []


def test_the_rows_of_a_batch_are_written_to_a_part(context: Context, store: Store, queued: Queued, texts: Path) -> None:
    # Given a batch of a job that wants its rows in files, When its message arrives
    batch = queued()
    assert run(batch.id, context)["outcome"] == "done"
    # Then there is one file, and the rows are read from it
    assert names(texts) == [f"{batch.id}.1.parquet"]
    assert [row.text for row in read(store, batch.job_id)] == [f"text {index}" for index in range(6)]
    assert store.jobs.get(batch.job_id).state is JobState.SUCCEEDED
    # And it goes with its job
    context_of_sweeper = context.payloads
    parts = store.jobs.parts(batch.job_id)
    context_of_sweeper.delete(store.jobs.remove(batch.job_id))
    context.parts.delete(parts)
    assert names(texts) == []


def test_the_sweeper_removes_the_parts_of_a_job_that_has_expired(
    context: Context, store: Store, queued: Queued, texts: Path
) -> None:
    # Given a job that is done, and is to be kept for no time at all
    batch = queued()
    run(batch.id, context)
    expiring = Store(store.engine, context.settings.model_copy(update={"job_ttl": 0.0}))
    # When the sweeper tidies
    Sweeper(
        expiring,
        context.payloads.redis,
        context.payloads,
        lambda _: None,
        name="cpu0@here",
        interval=60.0,
        parts=context.parts,
    ).tidy()
    # Then the job is gone, and its files are
    assert store.jobs.page().jobs == []
    assert names(texts) == []


def test_an_attempt_that_lost_its_batch_leaves_no_part(
    context: Context, store: Store, queued: Queued, texts: Path, decoder: StubDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that loses its batch after its part is written, and before it is noted
    batch = queued()
    write, taken = Parts.write, []

    def write_and_lose(self: Parts, uri: str, rows: object) -> object:
        part = write(self, uri, rows)  # type: ignore[arg-type]
        if not taken:
            assert names(texts) == [f"{batch.id}.1.parquet"]
            assert store.attempts.release(batch.id, 1)
            taken.append(store.attempts.claim(batch.id, "other", 60))
        return part

    monkeypatch.setattr(Parts, "write", write_and_lose)
    # When it comes to its end
    assert run(batch.id, context)["outcome"] == "fenced"
    # Then it has noted nothing, and taken its part away
    assert names(texts) == []
    (found,) = store.jobs.batches(batch.job_id)
    assert (found.state, found.part) == (BatchState.RUNNING, None)


def test_the_part_of_an_attempt_whose_worker_died_goes_with_the_next_success(
    context: Context, store: Store, queued: Queued, texts: Path
) -> None:
    # Given a worker that was killed after it wrote its part
    batch = queued()
    claim = store.attempts.claim(batch.id, "dead", 60)
    assert claim is not None
    texts.mkdir()
    (texts / f"{batch.id}.1.parquet").touch()
    (texts / f".{batch.id}.1.parquet.half").touch()
    store.sweeping.reclaim("dead")
    # When the next attempt is done, Then its part is the only one
    assert run(batch.id, context)["outcome"] == "done"
    assert names(texts) == [f"{batch.id}.2.parquet"]


def test_an_attempt_that_cannot_finish_takes_its_part_away(
    context: Context, store: Store, queued: Queued, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = queued()

    def refuse(*_: object, **__: object) -> bool:
        raise ValueError("no")

    monkeypatch.setattr(store.attempts, "finish", refuse)
    assert run(batch.id, context)["outcome"] == "failed, now queued"
    assert names(texts) == []


def test_a_worker_without_the_root_leaves_the_batch_to_others(
    context: Context, store: Store, queued: Queued, texts: Path
) -> None:
    batch = queued()
    assert run(batch.id, replace(context, parts=Parts([])))["outcome"] == "failed, now queued"
    (found,) = store.jobs.batches(batch.job_id)
    assert found.error_code == "roots"
    assert run(batch.id, context)["outcome"] == "done"


def test_a_disk_that_is_full_fails_the_attempt_and_not_the_worker(
    context: Context, store: Store, queued: Queued, texts: Path
) -> None:
    # Given a folder that is a file
    batch = queued()
    texts.touch()
    # When its batch is decoded, Then it is tried again later
    assert run(batch.id, context)["outcome"] == "failed, now queued"
    (found,) = store.jobs.batches(batch.job_id)
    assert found.error_code == "storage_unavailable"
    texts.unlink()
    assert run(batch.id, context)["outcome"] == "done"


def test_a_job_that_is_cancelled_leaves_no_part(
    context: Context, store: Store, queued: Queued, texts: Path, decoder: StubDecoder
) -> None:
    batch = queued()

    def before(_: Sequence[int]) -> None:
        store.jobs.cancel(batch.job_id)

    decoder.before = before
    slow = replace(context, settings=context.settings.model_copy(update={"micro_batch": 2, "heartbeat": 0.001}))
    run(batch.id, slow)
    assert store.jobs.get(batch.job_id).state is JobState.CANCELLED
    assert names(texts) == []
