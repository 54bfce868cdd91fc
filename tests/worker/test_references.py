"""A worker reads the vectors of a batch by reference itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import DIM, make_job, read
from unembed.corpus import ReferenceReader, open_reference
from unembed.models.store import Store
from unembed.roots import Roots
from unembed.schemas import Batch, BatchState, JobState
from unembed.worker.context import Context
from unembed.worker.sweeper import Sweeper
from unembed.worker.tasks import run

Submit = Callable[..., list[Batch]]


@pytest.fixture
def context(context: Context, tmp_path: Path) -> Iterator[Context]:
    """A worker that may read the test's folder."""
    reader = ReferenceReader(Roots.of([str(tmp_path)]))
    yield replace(context, references=reader)
    reader.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ten vectors with ids in row groups of four; one vector is null."""
    rows = np.random.default_rng(0).normal(size=(10, DIM)).astype(np.float32).tolist()
    rows[5] = None
    table = pa.table(
        {"embedding": pa.array(rows, type=pa.list_(pa.float32(), DIM)), "id": [f"row-{index}" for index in range(10)]}
    )
    pq.write_table(table, tmp_path / "corpus.parquet", row_group_size=4)
    return tmp_path / "corpus.parquet"


@pytest.fixture
def submit(store: Store) -> Submit:
    """A sealed job of the file's batches, as the API would leave it."""

    def submit(path: Path, batch_size: int = 1024) -> list[Batch]:
        job = make_job(store)
        (request,) = open_reference(path).requests(batch_size)
        batches = [batch for batch, _ in store.jobs.add_references(job.id, request)]
        store.jobs.seal(job.id, len(batches), sum(batch.rows for batch in batches))
        return batches

    return submit


def batch_of(store: Store, batch: Batch) -> Batch:
    return store.jobs.batches(batch.job_id)[batch.ordinal]


def test_a_corpus_by_reference_is_decoded_as_any_other(
    context: Context, store: Store, submit: Submit, path: Path
) -> None:
    # Given the batches of a file, with two of them to a row group
    batches = submit(path, 3)
    assert [batch.rows for batch in batches] == [3, 1, 3, 1, 2]
    # When their messages arrive, one of them twice
    outcomes = [run(batch.id, context)["outcome"] for batch in [*batches, batches[0]]]
    # Then each row has a text, or says why it has none, at its place and with its id
    assert outcomes == ["done"] * 5 + ["not claimed"]
    rows = read(store, batches[0].job_id, order="index")
    assert [(row.index, row.id, row.error_code) for row in rows] == [
        (index, f"row-{index}", "no_vector" if index == 5 else None) for index in range(10)
    ]
    assert store.jobs.get(batches[0].job_id).state is JobState.PARTIAL


def test_a_file_that_changed_ends_its_batch_at_once(context: Context, store: Store, submit: Submit, path: Path) -> None:
    first, *_ = submit(path)
    os.utime(path, ns=(1, 1))
    assert run(first.id, context)["outcome"] == "failed, now dead"
    dead = batch_of(store, first)
    assert dead.error_code == "file_changed"
    assert "has changed since it was submitted" in str(dead.error)


def test_a_file_that_is_not_there_is_tried_again_until_it_is(
    context: Context, store: Store, submit: Submit, path: Path
) -> None:
    # Given a file that is away when its batch is first claimed
    first, *_ = submit(path)
    away = path.rename(path.with_suffix(".away"))
    assert run(first.id, context)["outcome"] == "failed, now queued"
    assert batch_of(store, first).error_code == "file_missing"
    # When it is back, Then the batch is decoded
    away.rename(path)
    assert run(first.id, context)["outcome"] == "done"


def test_a_worker_without_the_root_leaves_the_batch_to_others(
    context: Context, store: Store, submit: Submit, path: Path
) -> None:
    first, *_ = submit(path)
    assert run(first.id, replace(context, references=ReferenceReader(Roots())))["outcome"] == "failed, now queued"
    assert batch_of(store, first).error_code == "roots"
    assert run(first.id, context)["outcome"] == "done"


def test_a_link_put_there_after_the_submit_leads_nowhere(
    context: Context, store: Store, submit: Submit, path: Path, tmp_path: Path
) -> None:
    # Given a worker that may read one folder, and a file in it that becomes a link out of it
    (tmp_path / "allowed").mkdir()
    inside = path.rename(tmp_path / "allowed" / "corpus.parquet")
    first, *_ = submit(inside)
    inside.rename(path)
    inside.symlink_to(path)
    narrow = replace(context, references=ReferenceReader(Roots.of([str(tmp_path / "allowed")])))
    # When its batch is claimed, Then it is not read
    assert run(first.id, narrow)["outcome"] == "failed, now queued"
    assert batch_of(store, first).error_code == "roots"


def test_vectors_of_another_dimension_are_dead_at_once(
    context: Context, store: Store, submit: Submit, tmp_path: Path
) -> None:
    np.save(tmp_path / "wide.npy", np.ones((3, DIM + 1), np.float32))
    (batch,) = submit(tmp_path / "wide.npy")
    assert run(batch.id, context)["outcome"] == "failed, now dead"
    dead = batch_of(store, batch)
    assert dead.error_code == "dimension"
    assert f"{DIM + 1} dimensions" in str(dead.error)


def test_a_redis_that_lost_everything_loses_no_batch_by_reference(
    context: Context, store: Store, submit: Submit, path: Path
) -> None:
    # Given batches that wait, and a Redis that was emptied
    batches = submit(path)
    context.payloads.redis.flushall()
    published: list[str] = []
    # When the sweeper looks for what is lost, six times so that it tidies too
    sweeper = Sweeper(
        store, context.payloads.redis, context.payloads, published.append, name="cpu0@here", interval=60.0
    )
    sweeper.sweep()
    sweeper.tidy()
    # Then none is dead for want of a payload, and their messages are sent again
    assert {batch_of(store, batch).state for batch in batches} == {BatchState.QUEUED}
    assert set(published) == {batch.id for batch in batches}
    assert [run(batch_id, context)["outcome"] for batch_id in published] == ["done"] * len(batches)
