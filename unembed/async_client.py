"""The client for programs that do other things meanwhile: the verbs of `unembed.Client`, to be awaited.

async with AsyncClient() as client:
    job = await client.submit("corpus.parquet")
    await job.wait()
    async for row in job.results():
        print(row.index, row.text, row.overall_quality)

For one event loop of asyncio. Files are read in threads, so that the loop goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from unembed.async_job import AsyncJobHandle
from unembed.calls import requests
from unembed.calls.download import download
from unembed.calls.reading import Pages, pages_of_errors, pages_of_results
from unembed.calls.remote import BUSY_TIMEOUT, Busy, RemoteServer
from unembed.calls.requests import RowsPage
from unembed.calls.submission import Sent, submit
from unembed.client import Client
from unembed.corpus import Coding
from unembed.described import described_as
from unembed.estimates import Estimate
from unembed.generations import rows_of
from unembed.home import known_key, require_url
from unembed.listed import DecoderList
from unembed.progress import Shown, listening
from unembed.schemas import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_DECODER,
    Batch,
    DecodeOptions,
    DecoderInfo,
    Generation,
    Job,
    JobPage,
    JobState,
    Order,
    Priority,
    ResultsFormat,
    Webhook,
)
from unembed.transport import AsyncTransport

if TYPE_CHECKING:
    import httpx2
    import pyarrow as pa


@described_as(Client)
class AsyncClient:
    """A server of Unembed, as `Client` describes it; its verbs are described there, too."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 5,
        busy_timeout: float = BUSY_TIMEOUT,
        busy: Busy = lambda _why, _pause: None,
        progress: Shown = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        key = known_key(api_key)
        server = RemoteServer(
            require_url(url), key, timeout=timeout, retries=retries, busy_timeout=busy_timeout, busy=busy
        )
        self._api = AsyncTransport(server, transport)
        self._progress = progress

    @property
    def url(self) -> str:
        return self._api.server.url

    def __repr__(self) -> str:
        return f"<AsyncClient {self.url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._api.close()

    async def submit(
        self,
        source: object,
        *,
        decoder: str = DEFAULT_DECODER,
        batch_size: int = DEFAULT_BATCH_SIZE,
        seed: int = 0,
        options: DecodeOptions | None = None,
        name: str | None = None,
        column: str | None = None,
        id_column: str | None = None,
        ids: Sequence[object] | None = None,
        cells: Coding | str | None = None,
        embedder: str | None = None,
        idempotency_key: str | None = None,
        by_reference: bool = False,
        results_to: str | os.PathLike[str] | None = None,
        priority: Priority | str = Priority.NORMAL,
        labels: Mapping[str, str] | None = None,
        webhook: Webhook | None = None,
        carry: Sequence[str] | None = None,
        progress: Sent | bool | None = None,
        created: Callable[[Job], object] = lambda _job: None,
    ) -> AsyncJobHandle:
        with listening(progress, self._progress) as listener:
            job = await self._api.run(
                submit(
                    source,
                    decoder=decoder,
                    batch_size=batch_size,
                    seed=seed,
                    options=options,
                    name=name,
                    column=column,
                    id_column=id_column,
                    ids=ids,
                    cells=cells,
                    embedder=embedder,
                    idempotency_key=idempotency_key,
                    by_reference=by_reference,
                    results_to=results_to,
                    priority=priority,
                    labels=labels,
                    webhook=webhook,
                    carry=carry,
                    progress=listener.sent,
                    created=created,
                )
            )
        return AsyncJobHandle(self, job)

    async def decode(
        self,
        vectors: object,
        *,
        decoder: str = DEFAULT_DECODER,
        seed: int = 0,
        options: DecodeOptions | None = None,
        timeout: float | None = None,
        progress: bool | None = None,
    ) -> list[str | None]:
        job = await self.submit(vectors, decoder=decoder, seed=seed, options=options, progress=progress)
        await job.wait(timeout, progress=progress)
        return (await job.to_arrow())["text"].to_pylist()

    async def estimate(
        self,
        rows: int,
        embedding_dim: int,
        *,
        decoder: str = DEFAULT_DECODER,
        options: DecodeOptions | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        priority: Priority | str = Priority.NORMAL,
    ) -> Estimate:
        return await self._api.send(requests.estimate(rows, embedding_dim, decoder, options, batch_size, priority))

    async def job(self, job_id: str) -> AsyncJobHandle:
        return AsyncJobHandle(self, await self._api.send(requests.job(job_id)))

    async def jobs(
        self,
        limit: int = 50,
        cursor: str | None = None,
        state: JobState | str | None = None,
        *,
        decoder: str | None = None,
        name: str | None = None,
        labels: Sequence[str] = (),
    ) -> JobPage:
        return await self._api.send(requests.jobs(limit, cursor, state, decoder, name, labels))

    async def batches(self, job_id: str) -> AsyncIterator[Batch]:
        cursor: str | None = None
        while True:
            page = await self._api.send(requests.batches(job_id, cursor))
            for batch in page.batches:
                yield batch
            cursor = page.next_cursor
            if cursor is None:
                return

    async def decoders(self) -> list[DecoderInfo]:
        found = await self._api.send(requests.decoders())
        return DecoderList(found)

    async def decoder(self, name: str) -> DecoderInfo:
        return await self._api.send(requests.decoder(name))

    async def cancel(self, job_id: str) -> Job:
        return await self._api.send(requests.cancel(job_id))

    async def retry(self, job_id: str) -> Job:
        return await self._api.send(requests.retry(job_id))

    async def remove(self, job_id: str) -> None:
        await self._api.send(requests.remove(job_id))

    async def results(self, job_id: str, order: Order = "finished") -> AsyncIterator[Generation]:
        async for batch in self.result_batches(job_id, order):
            for row in rows_of(batch):
                yield row

    def result_batches(self, job_id: str, order: Order = "finished") -> AsyncIterator[pa.RecordBatch]:
        return self._rows(pages_of_results(job_id, order))

    async def errors(self, job_id: str) -> AsyncIterator[Generation]:
        async for batch in self._rows(pages_of_errors(job_id)):
            for row in rows_of(batch):
                yield row

    async def download(self, job_id: str, path: str | os.PathLike[str], format: ResultsFormat | None = None) -> Path:
        return await self._api.run(download(job_id, path, format))

    async def _rows(self, pages: Pages) -> AsyncIterator[pa.RecordBatch]:
        coming: asyncio.Task[RowsPage] | None = asyncio.create_task(self._api.send(pages.after(None)))
        try:
            while coming is not None:
                page = await coming
                cursor = pages.next_after(page)
                coming = None if cursor is None else asyncio.create_task(self._api.send(pages.after(cursor)))
                if page.rows.num_rows:
                    yield page.rows
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
