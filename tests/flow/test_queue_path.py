"""A corpus travels the whole way: client, API, Redis, a worker's process, SQL, and back."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from tests.builders import decode_rows
from tests.flow.conftest import DECODER, SLOWLY
from tests.models.decoder import toy
from tests.worker.processes import await_, children_of, family_of, has_torch, is_alive
from unembed.client import Client
from unembed.errors import DimensionError, UnknownDecoderError
from unembed.job import JobHandle
from unembed.models.settings import Settings
from unembed.schemas import DecodeOptions, JobState, RowStatus
from unembed.worker.celery import QUEUE
from unembed.worker.launch import Stack

# What happens before a row is in SQL, or beside it.
no_matter_which_database = pytest.mark.parametrize("stack", ["sqlite"], indirect=True)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

WAIT = 200  # seconds; the machine may be busy


def submit(
    client: Client, rows: int, batch_size: int, seed: int = 0, options: DecodeOptions | None = None
) -> JobHandle:
    return client.submit(toy.vectors(rows, seed=seed), decoder=DECODER, batch_size=batch_size, options=options)


def finished(handle: JobHandle) -> JobHandle:
    return handle.wait(timeout=WAIT, check=False)


def worker_pids(stack: Stack) -> list[int]:
    """Of the workers' main processes."""
    return [pid for name, pid in stack.pids().items() if name.startswith("worker-")]


def decoding_children(stack: Stack) -> list[int]:
    return [child for pid in worker_pids(stack) for child in children_of(pid) if has_torch(child)]


def has_each_row_once(handle: JobHandle, rows: int) -> bool:
    return [row.index for row in handle.results(order="index")] == list(range(rows))


def test_a_corpus_comes_back_as_the_texts_that_the_decoder_writes(client: Client, decoders: Path) -> None:
    # Given embeddings with ids of their owner's, sent in batches that do not divide them evenly
    vectors = toy.vectors(50)
    ids = [f"row {number}" for number in range(50)]
    # When they are decoded
    handle = finished(client.submit(vectors, decoder=DECODER, batch_size=7, ids=ids, seed=5))
    # Then the job says so, down to its timings
    job = handle.job
    assert (job.state, job.rows.ok, job.batches.done) == (JobState.SUCCEEDED, 50, 8)
    assert job.timings.decode_ms > 0
    # And its rows are those that the same decoder writes in this process, at their places, with their ids
    from unembed.models.decoder.generative import GenerativeDecoder

    decoder = GenerativeDecoder.load(decoders / DECODER, "cpu", "float32")
    expected = decode_rows(decoder, vectors, range(50), DecodeOptions(), seed=5)
    rows = list(handle.results(order="index"))
    assert [row.id for row in rows] == ids
    assert [row.text for row in rows] == [row.text for row in expected]
    assert [row.tokens for row in rows] == [row.tokens for row in expected]
    assert all(row.source == DECODER and row.decode_ms is not None for row in rows)
    # And its batches name a worker, a device and the precision that the settings ask for
    batches = list(client.batches(handle.id))
    assert {(batch.device, batch.precision) for batch in batches} == {("cpu", "float32")}
    assert all(str(batch.worker).startswith("cpu") for batch in batches)


def test_a_corpus_by_reference_gives_the_same_rows_and_can_leave_them_in_files(
    client: Client, tmp_path: Path, decoders: Path
) -> None:
    # Given a file that the workers may read, with ids, a null vector, and row groups that are no multiple of a batch
    vectors = toy.vectors(50)
    rows = [None if index == 13 else vector for index, vector in enumerate(vectors.tolist())]
    table = pa.table({"embedding": pa.array(rows, pa.list_(pa.float32(), toy.DIM)), "id": [f"{i}" for i in range(50)]})
    folder = decoders.parent / tmp_path.name
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "corpus.parquet", row_group_size=20)
    # When it is sent, and when it is named and its rows are left in files
    sent = finished(client.submit(folder / "corpus.parquet", decoder=DECODER, batch_size=7))
    named = finished(
        client.submit(
            folder / "corpus.parquet",
            decoder=DECODER,
            batch_size=7,
            by_reference=True,
            results_to=folder / "texts",
        )
    )
    # Then the rows are the same, though the batches are not, and the files are one a batch
    assert (named.job.state, named.job.rows.ok, named.job.rows.error) == (JobState.PARTIAL, 49, 1)
    kept = ["index", "id", "text", "status", "error_code", "error", "source", "tokens"]
    assert named.to_arrow().select(kept).equals(sent.to_arrow().select(kept))
    batches = list(client.batches(named.id))
    assert [batch.rows for batch in batches] == [7, 7, 6, 7, 7, 6, 7, 3]
    assert {batch.part.uri for batch in batches if batch.part} == {
        path.as_uri() for path in (folder / "texts").glob("*.parquet")
    }
    # And they go with their job
    named.remove()
    assert list((folder / "texts").iterdir()) == []


@no_matter_which_database
def test_sampled_texts_do_not_depend_on_how_the_corpus_was_cut(client: Client) -> None:
    # Given the same corpus, seed and options, in one batch and in many
    vectors = toy.vectors(24)
    options = DecodeOptions(temperature=0.8, top_k=20)
    texts = []
    for size in (24, 5):
        handle = finished(client.submit(vectors, decoder=DECODER, batch_size=size, seed=3, options=options))
        texts.append([row.text for row in handle.results(order="index")])
    # When both are read / Then they are the same
    assert texts[0] == texts[1]


@no_matter_which_database
def test_candidates_do_not_depend_on_how_the_corpus_was_cut(client: Client) -> None:
    # Given the same corpus and several candidates a row, from beams and sampled, in one batch and in many
    vectors = toy.vectors(24)
    for options in (DecodeOptions(candidates=3), DecodeOptions(candidates=6, beams=2, temperature=0.8)):
        texts = []
        for size in (24, 5):
            handle = finished(client.submit(vectors, decoder=DECODER, batch_size=size, seed=3, options=options))
            texts.append([row.text for row in handle.results(order="index")])
        # When both are read / Then they are the same
        assert texts[0] == texts[1]


def test_a_job_names_a_bank_or_a_hybrid_and_its_rows_say_who_answered(client: Client) -> None:
    # Given the vectors of three phrases and three that are near none
    vectors = np.concatenate([toy.vectors()[:3], toy.vectors(3, seed=9)])
    # When they are decoded by a phrase bank and by a hybrid of it and the toy network
    bank = finished(client.submit(vectors, decoder="phrases"))
    both = finished(client.submit(vectors, decoder="both"))
    # Then the bank has the three it knows, and says of the others why not
    rows = list(bank.results(order="index"))
    assert [row.text for row in rows] == [*toy.TEXTS[:3], None, None, None]
    assert {row.error_code for row in rows[3:]} == {"no_phrase"}
    assert bank.job.state is JobState.PARTIAL
    # And the hybrid has texts for all, three of them the bank's, which are counted as such
    rows = list(both.results(order="index"))
    assert [(row.status, row.source) for row in rows] == (
        [(RowStatus.FALLBACK, "phrases")] * 3 + [(RowStatus.OK, DECODER)] * 3
    )
    assert [row.text for row in rows[:3]] == toy.TEXTS[:3]
    assert (both.job.rows.ok, both.job.rows.fallback) == (3, 3)


def test_bad_rows_are_told_and_the_others_decode(client: Client) -> None:
    vectors = toy.vectors(12).astype(np.float64)
    vectors[3, 1] = np.nan
    vectors[7] = 0
    handle = finished(client.submit(vectors, decoder=DECODER, batch_size=5))
    assert handle.job.state is JobState.PARTIAL
    rows = list(handle.results(order="index"))
    assert {row.index: row.error_code for row in rows if row.status is RowStatus.ERROR} == {
        3: "not_finite",
        7: "zero_vector",
    }


@no_matter_which_database
def test_an_unknown_decoder_and_a_wrong_dimension_are_refused_at_the_door(client: Client) -> None:
    with pytest.raises(UnknownDecoderError, match=DECODER):
        client.submit(toy.vectors(2), decoder="nobody")
    with pytest.raises(DimensionError, match=f"3.*{toy.DIM}"):
        client.submit(toy.vectors(2, dim=3), decoder=DECODER)


def test_several_jobs_at_once_do_not_mix(client: Client) -> None:
    with ThreadPoolExecutor(3) as pool:
        handles = list(pool.map(lambda seed: submit(client, 40 + seed, 8, seed), range(3)))
        list(pool.map(finished, handles))
    for seed, handle in enumerate(handles):
        assert handle.job.state is JobState.SUCCEEDED
        assert has_each_row_once(handle, 40 + seed)


def test_a_job_can_be_cancelled_while_it_runs(client: Client) -> None:
    # Given a job that has begun
    handle = submit(client, 1600, 200, options=SLOWLY)
    await_(lambda: handle.refresh().batches.running > 0)
    # When it is cancelled
    handle.cancel()
    # Then it ends soon, every batch has ended, and what was done stays
    finished(handle)
    job = handle.job
    assert job.state is JobState.CANCELLED
    assert job.batches.done + job.batches.cancelled == 8
    assert job.batches.cancelled > 0
    assert len(list(handle.results())) == job.rows.written == job.batches.done * 200


@linux_only
@no_matter_which_database
def test_the_main_processes_are_free_of_torch_and_their_children_decode(stack: Stack, client: Client) -> None:
    # Given workers that have decoded something
    finished(submit(client, 20, 2))
    # When their memory is looked at / Then torch is in the children alone
    mains = worker_pids(stack)
    assert len(mains) == 2
    assert not any(map(has_torch, mains))
    await_(lambda: len(decoding_children(stack)) == 2)


@linux_only
def test_a_child_that_is_killed_costs_time_and_nothing_else(stack: Stack, client: Client) -> None:
    # Given a job that runs
    handle = submit(client, 1200, 120)
    await_(lambda: handle.refresh().batches.running > 0)
    # When a child is killed with -9
    os.kill(decoding_children(stack)[0], signal.SIGKILL)
    # Then every row is there, once
    finished(handle)
    assert handle.job.state is JobState.SUCCEEDED
    assert has_each_row_once(handle, 1200)


@linux_only
def test_a_worker_that_is_killed_is_started_again_and_the_job_goes_on(stack: Stack, client: Client) -> None:
    # Given a job that runs
    handle = submit(client, 1200, 120)
    await_(lambda: handle.refresh().batches.running > 0)
    # When both workers are killed with -9
    killed = worker_pids(stack)
    families = [member for pid in killed for member in family_of(pid)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    # Then nothing of them is left, others take their place, and every row is there, once
    await_(lambda: not any(map(is_alive, families)), 60)
    finished(handle)
    assert handle.job.state is JobState.SUCCEEDED
    assert has_each_row_once(handle, 1200)
    assert not set(killed) & set(worker_pids(stack))


def test_a_worker_that_is_told_to_stop_hands_its_batch_back(stack: Stack, client: Client) -> None:
    # Given a job of few, large batches, each of seconds, that runs
    handle = submit(client, 1600, 800, options=SLOWLY)
    await_(lambda: handle.refresh().batches.running > 0)
    # When the workers get TERM
    stopped = worker_pids(stack)
    for pid in stopped:
        os.kill(pid, signal.SIGTERM)
    await_(lambda: not any(map(is_alive, stopped)), 60)
    # Then they have ended without decoding to the end, and others finish
    assert handle.refresh().batches.done < 2
    finished(handle)
    assert handle.job.state is JobState.SUCCEEDED
    assert has_each_row_once(handle, 1600)
    # And no batch had to wait for a lease to run out, or has lost an attempt
    batches = list(client.batches(handle.id))
    assert {batch.error_code for batch in batches} == {None}
    assert {batch.max_attempts - batch.attempt for batch in batches} == {Settings().max_attempts - 1}


def test_messages_that_redis_lost_are_sent_again(stack: Stack, client: Client) -> None:
    # Given a job that runs
    handle = submit(client, 1200, 120)
    # When every message that waits is gone
    with redis.Redis(unix_socket_path=str(stack.home / "redis.sock")) as queue:
        queue.delete(QUEUE)
    # Then the job finishes all the same
    finished(handle)
    assert handle.job.state is JobState.SUCCEEDED


def test_redis_itself_may_die(stack: Stack, client: Client) -> None:
    # Given a job that runs
    handle = submit(client, 1200, 120)
    # When Redis is killed with -9
    os.kill(stack.pids()["redis"], signal.SIGKILL)
    # Then it is started again, has kept the payloads, and the job finishes
    finished(handle)
    assert handle.job.state is JobState.SUCCEEDED
    assert has_each_row_once(handle, 1200)


@no_matter_which_database
def test_flower_shows_the_workers_and_what_they_did(stack: Stack, client: Client) -> None:
    # Given a batch that was decoded
    handle = finished(submit(client, 5, 5))
    (batch,) = client.batches(handle.id)

    def fetch(path: str) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = httpx2.get(f"{stack.flower_url}{path}", timeout=30).json()
        return found

    def is_shown(shown: Callable[[], bool]) -> None:
        await_(shown, 60)

    # When Flower is asked / Then it knows the workers by their names, and the attempt at the batch
    is_shown(lambda: {name.split("@")[0] for name in fetch("/api/workers?refresh=1")} == {"cpu0", "cpu1"})
    is_shown(lambda: fetch("/api/tasks").get(f"{batch.id}.{batch.attempt}", {}).get("state") == "SUCCESS")
    assert {task["name"] for task in fetch("/api/tasks").values()} == {"decode.batch"}
