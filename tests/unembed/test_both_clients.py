"""The same comes of the verbs of `Client` and `AsyncClient`: each scenario is played with both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from tests.builders import DIM
from tests.unembed.both_clients import KINDS, Play, made, vectors
from tests.unembed.conftest import DECODER, Hand
from unembed.async_client import AsyncClient
from unembed.errors import (
    ConflictError,
    InputError,
    JobFailedError,
    NotFoundError,
    OutputError,
    UnknownDecoderError,
    WaitTimeoutError,
)
from unembed.schemas import Job, JobState, RowStatus


def test_a_corpus_goes_in_and_its_texts_come_out(play: Play, hand: Hand) -> None:
    # Given a worker
    hand.start()
    ids = [f"id-{i}" for i in range(25)]

    async def scenario(client: Any) -> None:
        # When an array with ids is submitted in batches of 4 and waited for
        sent: list[tuple[int, int]] = []
        job = await client.submit(
            vectors(), decoder=DECODER, batch_size=4, ids=ids, progress=lambda *at: sent.append(at)
        )
        seen: list[Job] = []
        await job.wait(timeout=60, progress=seen.append)
        # Then every row is there, once, with its id, however it is read
        rows = [row async for row in job.results(order="index")]
        assert [(row.index, row.id, row.text) for row in rows] == [(i, ids[i], f"text {i}") for i in range(25)]
        assert (await job.to_arrow())["text"].to_pylist() == [f"text {i}" for i in range(25)]
        assert [row.index for row in await job.head(3)] == [0, 1, 2]
        assert [batch.ordinal async for batch in job.batches()] == list(range(7))
        assert [row async for row in job.errors()] == []
        # And progress went up to all rows, and the job was seen as it ended
        assert sent[-1] == (25, 25)
        assert seen[-1].state is JobState.SUCCEEDED is job.job.state
        assert (await job.made_by()).decoder == DECODER

    play(scenario)


def test_what_is_asked_of_a_server_is_answered(play: Play) -> None:
    async def scenario(client: Any) -> None:
        # Given two jobs
        first = await client.submit(vectors(), decoder=DECODER, name="one", labels={"team": "a"})
        second = await client.submit(vectors(), decoder=DECODER, name="two")
        # When they are listed, found and estimated, Then the answers are of these
        page = await client.jobs(limit=1)
        rest = await client.jobs(limit=1, cursor=page.next_cursor)
        assert [job.id for job in (*page.jobs, *rest.jobs)] == [second.id, first.id]
        assert [job.id for job in (await client.jobs(labels=["team=a"])).jobs] == [first.id]
        assert (await client.jobs(state="running")).jobs == []
        assert (await client.job(first.id)).job.name == "one"
        assert (await first.refresh()).state is JobState.QUEUED
        assert DECODER in [decoder.name for decoder in await client.decoders()]
        with pytest.raises(UnknownDecoderError, match="nobody"):
            await client.decoder("nobody")
        assert (await client.estimate(100, DIM, decoder=DECODER)).rows == 100

    play(scenario)


def test_a_job_is_cancelled_and_removed(play: Play, hand: Hand) -> None:
    async def scenario(client: Any) -> None:
        # Given a job of three batches of which one is done
        job = await client.submit(vectors(), decoder=DECODER, batch_size=10)
        hand.work(limit=1)
        # When it is cancelled, Then the rows stay, and waiting says so
        assert (await job.cancel()).state is JobState.CANCELLED
        assert len([row async for row in job.results()]) == 10
        with pytest.raises(JobFailedError, match="cancelled"):
            await job.wait()
        # And it cannot be tried again, and is gone when it is removed
        with pytest.raises(ConflictError):
            await job.retry()
        await job.remove()
        with pytest.raises(NotFoundError):
            await job.refresh()

    play(scenario)


def test_a_dead_batch_is_tried_again(play: Play, hand: Hand) -> None:
    async def scenario(client: Any) -> None:
        # Given a job of which one batch is dead
        job = await client.submit(vectors(), decoder=DECODER, batch_size=10)
        hand.fail(1)
        hand.work()
        assert (await job.refresh()).state is JobState.PARTIAL
        assert [row.index async for row in job.errors()] == list(range(10, 20))
        # When it is retried, Then every row is there once
        assert (await job.retry()).state is JobState.RUNNING
        hand.work()
        await job.wait(timeout=60)
        assert [row.index async for row in job.results("index")] == list(range(25))

    play(scenario)


def test_waiting_ends_at_its_timeout_and_the_job_goes_on(play: Play) -> None:
    async def scenario(client: Any) -> None:
        # Given a job that no worker takes, When it is waited for a moment
        job = await client.submit(vectors(), decoder=DECODER)
        with pytest.raises(WaitTimeoutError, match=r"still queued after 0\.3 seconds") as caught:
            await job.wait(timeout=0.3)
        # Then it is a TimeoutError of Python's, too, and says how to go on
        assert isinstance(caught.value, TimeoutError)
        assert f"client.job('{job.id}').wait()" in "".join(caught.value.__notes__)
        assert (await job.refresh()).state is JobState.QUEUED

    play(scenario)


def test_a_job_is_followed_to_its_end(play: Play, hand: Hand) -> None:
    async def scenario(client: Any) -> None:
        # Given a job of three batches, of which one more is done after each look
        job = await client.submit(vectors(), decoder=DECODER, batch_size=10)
        looks: list[tuple[JobState, int]] = []
        # When it is followed
        async for seen in job.follow(timeout=60):
            looks.append((seen.state, seen.rows.written))
            await asyncio.to_thread(hand.work, 1)
        # Then each change was told, and the end at last
        assert looks == [
            (JobState.QUEUED, 0),
            (JobState.RUNNING, 10),
            (JobState.RUNNING, 20),
            (JobState.SUCCEEDED, 25),
        ]
        assert job.job.state is JobState.SUCCEEDED

    play(scenario)


def test_vectors_are_decoded_to_texts(play: Play, hand: Hand) -> None:
    # Given a worker, and a row that is not finite
    hand.start()
    sent = vectors(4)
    sent[2] = np.nan

    async def scenario(client: Any) -> None:
        # When they are decoded, Then there is a text for each, and None for that row
        assert await client.decode(sent, decoder=DECODER, timeout=60) == ["text 0", "text 1", None, "text 3"]
        assert await client.decode(list(sent[0]), decoder=DECODER, timeout=60) == ["text 0"]
        # And where no row has a text, that is an error
        with pytest.raises(JobFailedError):
            await client.decode(sent[2:3], decoder=DECODER, timeout=60)

    play(scenario)


def test_a_job_is_downloaded_in_every_format(
    play: Play, hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that has ended, and pieces so small that each file is many
    monkeypatch.setattr("unembed.calls.download.PIECE_BYTES", 700)

    async def scenario(client: Any) -> None:
        job = await client.submit(vectors(), decoder=DECODER)
        with pytest.raises(ConflictError, match="queued"):
            await job.download(tmp_path / "early.parquet")
        hand.work()
        await job.wait(timeout=60)
        # When it is downloaded, Then each file has all rows, and nothing else is left in the folder
        folder = tmp_path / job.id
        folder.mkdir()
        for suffix, read in READERS.items():
            path = folder / f"texts.{suffix}"
            assert await job.download(path) == path
            assert read(path)["text"].to_pylist() == [f"text {i}" for i in range(25)]
        assert await job.download(folder / "texts.data", format="csv") == folder / "texts.data"
        assert sorted(path.suffix for path in folder.iterdir()) == [".arrow", ".csv", ".data", ".jsonl", ".parquet"]
        # And where no file can be, the error says so
        with pytest.raises(OutputError, match="cannot be written"):
            await job.download(tmp_path / "nowhere" / "texts.csv")
        with pytest.raises(InputError, match=r"texts\.xlsx.*expected one of jsonl, csv, parquet, arrow"):
            await job.download(folder / "texts.xlsx")

    play(scenario)


READERS: dict[str, Callable[[Path], pa.Table]] = {
    "parquet": pq.read_table,
    "arrow": lambda path: pa.ipc.open_file(str(path)).read_all(),
    "csv": pyarrow.csv.read_csv,
    "jsonl": pyarrow.json.read_json,
}


def test_forty_jobs_are_awaited_at_once(url: str, hand: Hand) -> None:
    async def scenario() -> None:
        async with AsyncClient(url) as client:
            # Given forty jobs
            sent = (client.submit(vectors(2), decoder=DECODER) for _ in range(40))
            jobs = await asyncio.gather(*sent)
            # When all are waited for at once, Then one event loop does it
            hand.start()
            await asyncio.gather(*(job.wait(timeout=120) for job in jobs))
            assert {job.job.state for job in jobs} == {JobState.SUCCEEDED}
            assert all(row.status is RowStatus.OK for row in [row async for row in jobs[20].results()])

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_is_closed_says_so(url: str, kind: str) -> None:
    async def scenario() -> None:
        async with made(kind, url) as client:
            pass
        with pytest.raises(InputError, match="closed"):
            await client.jobs()

    asyncio.run(scenario())
