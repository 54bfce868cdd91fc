"""`Client` and `AsyncClient` have the same verbs, and the same comes of them: each scenario is played with both."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from tests.builders import DIM
from tests.unembed.both_clients import KINDS, made
from tests.unembed.conftest import DECODER, Hand, ServeWith
from unembed.async_client import AsyncClient
from unembed.async_job import AsyncJobHandle
from unembed.client import Client
from unembed.errors import (
    ConflictError,
    CorpusError,
    IdempotencyError,
    InputError,
    JobFailedError,
    NotFoundError,
    OutputError,
    UnknownDecoderError,
    WaitTimeoutError,
)
from unembed.job import JobHandle
from unembed.schemas import Job, JobState, RowStatus

Play = Callable[[Callable[[Any], Awaitable[None]]], None]


def vectors(rows: int = 25, dim: int = DIM) -> np.ndarray:
    return np.linspace(-1, 1, rows * dim, dtype=np.float32).reshape(rows, dim)


@pytest.fixture(params=KINDS)
def play(url: str, request: pytest.FixtureRequest) -> Play:
    """Plays a scenario with a client of one kind, and then of the other."""

    def play(scenario: Callable[[Any], Awaitable[None]]) -> None:
        async def played() -> None:
            async with made(request.param, url, retries=1) as client:
                await scenario(client)

        asyncio.run(played())

    return play


def public(cls: type[Any]) -> dict[str, Any]:
    return {name: verb for name, verb in vars(cls).items() if not name.startswith("_")}


@pytest.mark.parametrize(("cls", "other"), [(Client, AsyncClient), (JobHandle, AsyncJobHandle)])
def test_both_have_the_same_verbs_with_the_same_signatures(cls: type[Any], other: type[Any]) -> None:
    # Given both classes, When their public verbs are listed, Then they are the same
    verbs, others = public(cls), public(other)
    assert verbs.keys() == others.keys()
    for name in [*(name for name, verb in verbs.items() if inspect.isfunction(verb)), "__init__"]:
        one, two = (inspect.signature(getattr(each, name)) for each in (cls, other))
        # And each takes the same, with the same defaults, and gives the same, to be awaited or one by one
        assert one.parameters.keys() == two.parameters.keys(), name
        for given, awaited in zip(one.parameters.values(), two.parameters.values(), strict=True):
            assert (given.kind, _same(given.annotation)) == (awaited.kind, _same(awaited.annotation)), name
            assert _is_same_default(given.default, awaited.default), (name, given.name)
        assert _same(one.return_annotation) == _same(two.return_annotation), name
        is_lazy = "Iterator" in str(one.return_annotation)
        assert inspect.iscoroutinefunction(getattr(other, name)) is not (is_lazy or name == "__init__"), name


def _same(annotation: object) -> str:
    return str(annotation).replace("Async", "")


def _is_same_default(one: object, other: object) -> bool:
    return one == other or (inspect.isfunction(one) and inspect.isfunction(other))


@pytest.mark.parametrize("cls", [Client, JobHandle, AsyncClient, AsyncJobHandle])
def test_each_verb_says_what_it_does(cls: type[Any]) -> None:
    for name, verb in public(cls).items():
        assert isinstance(verb, property) or name in ("close", "job") or inspect.getdoc(verb), name


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


def test_a_key_finds_the_same_job(play: Play) -> None:
    async def scenario(client: Any) -> None:
        # Given a corpus submitted under a key, When it is submitted again, Then it is the same job
        first = await client.submit(vectors(), decoder=DECODER, idempotency_key="nightly")
        assert (await client.submit(vectors(), decoder=DECODER, idempotency_key="nightly")).id == first.id
        with pytest.raises(IdempotencyError):
            await client.submit(vectors() + 1, decoder=DECODER, idempotency_key="nightly")
        # And an iterator is known again, too
        batches = [vectors()[:20], vectors()[20:]]
        assert (await client.submit(iter(batches), decoder=DECODER, idempotency_key="nightly")).id == first.id

    play(scenario)


def test_an_iterator_streams_and_is_never_held_whole(play: Play, hand: Hand) -> None:
    async def scenario(client: Any) -> None:
        # Given batches that are made one by one, and how many of them nobody has let go of yet
        alive: set[int] = set()
        most = 0

        class Counted(np.ndarray):
            pass

        def batches() -> Iterator[Any]:
            nonlocal most
            for number in range(60):
                batch = np.full((10, DIM), number / 60, np.float32).view(Counted)
                alive.add(number)
                weakref.finalize(batch, alive.discard, number)
                most = max(most, len(alive))
                yield batch, [f"{number}-{row}" for row in range(10)]

        # When they are submitted as they come, in batches of another size
        told: list[tuple[int, int]] = []
        job = await client.submit(batches(), decoder=DECODER, batch_size=16, progress=lambda *at: told.append(at))
        # Then all rows have arrived, with their ids, and at no time were there many of them here
        assert (told[-1], job.job.rows.total) == ((600, 600), 600)
        assert most < 30
        hand.work()
        rows = [row async for row in (await job.wait(timeout=60)).results("index")]
        assert [row.id for row in rows] == [f"{number}-{row}" for number in range(60) for row in range(10)]

    play(scenario)


def test_what_an_iterator_raises_is_raised_and_its_job_is_cancelled(play: Play) -> None:
    class TheirsError(Exception):
        pass

    async def scenario(client: Any) -> None:
        # Given an iterator that fails after two batches
        def batches() -> Iterator[Any]:
            yield vectors()
            yield vectors()
            raise TheirsError

        # When it is submitted, Then its own error comes out, and says what became of the job
        with pytest.raises(TheirsError) as caught:
            await client.submit(batches(), decoder=DECODER)
        (job,) = (await client.jobs(limit=1)).jobs
        assert job.state is JobState.CANCELLED
        assert job.id in "".join(caught.value.__notes__)

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


def test_a_corpus_that_breaks_off_leaves_no_open_job(play: Play, tmp_path: Path) -> None:
    # Given a file that is cut short within its last row
    lines = ['{"embedding": [1.0, 2.0, 3.0, 4.0]}'] * 2000 + ['{"embedding": [1.0']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))

    async def scenario(client: Any) -> None:
        # When it is submitted, Then the row is named, and the job is cancelled
        with pytest.raises(CorpusError, match=r"row 2000 .*cut short"):
            await client.submit(tmp_path / "a.jsonl", decoder=DECODER, batch_size=100)
        assert (await client.jobs(limit=1)).jobs[0].state is JobState.CANCELLED

    play(scenario)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_queue_makes_a_submit_wait(serve_with: ServeWith, hand: Hand, kind: str) -> None:
    # Given a server with room for ten rows, and a worker that begins when the client has been refused
    url = serve_with(max_queued_rows=10)
    told: list[str] = []

    def busy(why: str, pause: float) -> None:
        told.append(why)
        hand.start()

    async def scenario() -> None:
        async with made(kind, url, busy=busy) as client:
            # When forty rows are submitted, Then the client was held back, and all of them came through
            job = await client.submit(vectors(40), decoder=DECODER, batch_size=5)
            await job.wait(timeout=60)
            assert [row.index async for row in job.results("index")] == list(range(40))

    asyncio.run(scenario())
    assert any("limit of 10" in why for why in told)


def test_a_task_that_is_cancelled_cancels_the_job_that_it_was_sending(serve_with: ServeWith) -> None:
    # Given a server without room, so that a submit waits
    url = serve_with(max_queued_rows=5)
    refused = asyncio.Event()

    async def scenario() -> None:
        async with AsyncClient(url, busy=lambda *_: refused.set()) as client:
            task = asyncio.create_task(client.submit(vectors(40), decoder=DECODER, batch_size=5))
            await asyncio.wait_for(refused.wait(), 60)
            # When its task is cancelled, Then it ends, and so does the job
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [job.state for job in (await client.jobs()).jobs] == [JobState.CANCELLED]

    asyncio.run(scenario())


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
