"""A job as the client sees it that is awaited."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from unembed.calls import requests
from unembed.calls.arguments import count
from unembed.calls.reading import made_by
from unembed.calls.waiting import USUAL_POLL, JobWatch, require_success, until_ended
from unembed.described import described_as
from unembed.generations import rows_of, table_of
from unembed.job import JobHandle
from unembed.job_view import JobView
from unembed.listed import RowList
from unembed.progress import listening
from unembed.results.in_frames import pandas_frame, polars_frame
from unembed.results.made_by import MadeBy
from unembed.schemas import Batch, Generation, Job, Order, ResultsFormat

if TYPE_CHECKING:
    import pandas
    import polars

    from unembed.async_client import AsyncClient


@described_as(JobHandle)
class AsyncJobHandle(JobView):
    """A job on a server, as it was when last looked at; its verbs are described at `JobHandle`."""

    def __init__(self, client: AsyncClient, job: Job) -> None:
        super().__init__(job)
        self._client = client

    async def refresh(self) -> Job:
        return self._is_now(await self._client._api.send(requests.job(self.id)))

    async def cancel(self) -> Job:
        return self._is_now(await self._client.cancel(self.id))

    async def retry(self) -> Job:
        return self._is_now(await self._client.retry(self.id))

    async def remove(self) -> None:
        await self._client.remove(self.id)

    async def wait(
        self,
        timeout: float | None = None,
        *,
        poll: float = USUAL_POLL,
        progress: Callable[[Job], object] | bool | None = None,
        check: bool = True,
    ) -> Self:
        with listening(progress, self._client._progress) as listener:
            seen = self._seen(listener.job)
            await self._client._api.run(until_ended(self.id, timeout, poll, seen, listens=listener.job is not None))
        if check:
            require_success(self.job)
        return self

    async def follow(self, timeout: float | None = None, *, poll: float = USUAL_POLL) -> AsyncIterator[Job]:
        watch = JobWatch(self.id, timeout, poll)
        while True:
            yield self._is_now(await self._client._api.run(watch.next_look()))
            if self.job.state.is_ended:
                return

    def batches(self) -> AsyncIterator[Batch]:
        return self._client.batches(self.id)

    def results(self, order: Order = "finished") -> AsyncIterator[Generation]:
        return self._client.results(self.id, order)

    def result_batches(self, order: Order = "finished") -> AsyncIterator[pa.RecordBatch]:
        return self._client.result_batches(self.id, order)

    def errors(self) -> AsyncIterator[Generation]:
        return self._client.errors(self.id)

    async def head(self, rows: int = 10) -> list[Generation]:
        page = await self._client._api.send(requests.results(self.id, "index", None, count("rows", rows, 1)))
        return RowList(rows_of(page.rows))

    async def made_by(self) -> MadeBy:
        return await self._client._api.run(made_by(self.job))

    async def download(self, path: str | os.PathLike[str], format: ResultsFormat | None = None) -> Path:
        return await self._client.download(self.id, path, format)

    async def to_arrow(self) -> pa.Table:
        return table_of([batch async for batch in self.result_batches(order="index")])

    async def to_pandas(self) -> pandas.DataFrame:
        return pandas_frame(await self.to_arrow())

    async def to_polars(self) -> polars.DataFrame:
        return polars_frame(await self.to_arrow())
