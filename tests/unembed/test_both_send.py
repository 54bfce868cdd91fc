"""A corpus is sent alike by `Client` and `AsyncClient`: again, as it comes, and to a server that has no room."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import DIM
from tests.unembed.both_clients import KINDS, Play, made, vectors
from tests.unembed.conftest import DECODER, Hand, ServeWith
from unembed.async_client import AsyncClient
from unembed.errors import (
    CorpusError,
    IdempotencyError,
)
from unembed.schemas import JobState


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
