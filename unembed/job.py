"""A job as its client sees it: look at it, wait for it, read its rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from unembed.calls import requests
from unembed.calls.arguments import count
from unembed.calls.reading import made_by
from unembed.calls.waiting import USUAL_POLL, JobWatch, require_success, until_ended
from unembed.generations import rows_of, table_of
from unembed.job_view import JobView
from unembed.listed import RowList
from unembed.progress import listening
from unembed.results.in_frames import pandas_frame, polars_frame
from unembed.results.made_by import MadeBy
from unembed.schemas import Batch, Generation, Job, Order, ResultsFormat

if TYPE_CHECKING:
    import pandas
    import polars

    from unembed.client import Client


class JobHandle(JobView):
    """A job on a server, as it was when last looked at."""

    def __init__(self, client: Client, job: Job) -> None:
        super().__init__(job)
        self._client = client

    def refresh(self) -> Job:
        """Looks at it again."""
        return self._is_now(self._client._api.send(requests.job(self.id)))

    def cancel(self) -> Job:
        """No batch of it starts any more; what is done stays. ConflictError when it has ended already."""
        return self._is_now(self._client.cancel(self.id))

    def retry(self) -> Job:
        """Its dead batches are tried again: `Client.retry`."""
        return self._is_now(self._client.retry(self.id))

    def remove(self) -> None:
        """It goes, with its rows. ConflictError while it has not ended."""
        self._client.remove(self.id)

    def wait(
        self,
        timeout: float | None = None,
        *,
        poll: float = USUAL_POLL,
        progress: Callable[[Job], object] | bool | None = None,
        check: bool = True,
    ) -> Self:
        """Returns when the job has ended. The server says so by itself, or is asked now and then if it is an older one.

        `progress` is told of the job whenever it has changed, and every `poll` seconds at least; True or False: whether
        to show a bar. Raises WaitTimeoutError, a TimeoutError, after `timeout` seconds; with `check`, JobFailedError
        when the job failed or was cancelled. After Ctrl-C the job goes on: `client.job(ID).wait()` waits for it again.
        """
        with listening(progress, self._client._progress) as listener:
            seen = self._seen(listener.job)
            self._client._api.run(until_ended(self.id, timeout, poll, seen, listens=listener.job is not None))
        if check:
            require_success(self.job)
        return self

    def follow(self, timeout: float | None = None, *, poll: float = USUAL_POLL) -> Iterator[Job]:
        """The job as it is, again whenever it has changed, and every `poll` seconds at least; as it has ended, at last.
        Raises WaitTimeoutError after `timeout` seconds."""
        watch = JobWatch(self.id, timeout, poll)
        while True:
            yield self._is_now(self._client._api.run(watch.next_look()))
            if self.job.state.is_ended:
                return

    def batches(self) -> Iterator[Batch]:
        """Its batches in the order of their ordinals."""
        return self._client.batches(self.id)

    def results(self, order: Order = "finished") -> Iterator[Generation]:
        """The rows written so far: in the order in which they were finished, or with "index" in the corpus's."""
        return self._client.results(self.id, order)

    def result_batches(self, order: Order = "finished") -> Iterator[pa.RecordBatch]:
        """The same rows as columns, a page at a time: what `write_results` takes."""
        return self._client.result_batches(self.id, order)

    def errors(self) -> Iterator[Generation]:
        """The rows without a text, in the order of the corpus: all of them once the job has ended."""
        return self._client.errors(self.id)

    def head(self, rows: int = 10) -> list[Generation]:
        """The first rows of the corpus that are written by now; a table in a notebook."""
        page = self._client._api.send(requests.results(self.id, "index", None, count("rows", rows, 1)))
        return RowList(rows_of(page.rows))

    def made_by(self) -> MadeBy:
        """What made its rows: the decoder, the options and the versions, as `write_results` keeps them."""
        return self._client._api.run(made_by(self.job))

    def download(self, path: str | os.PathLike[str], format: ResultsFormat | None = None) -> Path:
        """All its rows as a file: `Client.download`."""
        return self._client.download(self.id, path, format)

    def to_arrow(self) -> pa.Table:
        """The rows written so far as a table, in the corpus's order."""
        return table_of(list(self.result_batches(order="index")))

    def to_pandas(self) -> pandas.DataFrame:
        """The same as a frame of pandas. MissingExtraError where it is not installed."""
        return pandas_frame(self.to_arrow())

    def to_polars(self) -> polars.DataFrame:
        """The same as a frame of Polars. MissingExtraError where it is not installed."""
        return polars_frame(self.to_arrow())
