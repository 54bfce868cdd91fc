"""Submit corpora to a server of Unembed, wait for them, read their texts.

job = Client().submit("corpus.parquet").wait()
for row in job.results():
    print(row.index, row.text, row.overall_quality)

`unembed.AsyncClient` has the same verbs, to be awaited. What either asks is in `unembed.calls`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

from unembed.calls import requests
from unembed.calls.download import download
from unembed.calls.reading import Pages, pages_of_errors, pages_of_results
from unembed.calls.remote import BUSY_TIMEOUT, Busy, RemoteServer
from unembed.calls.requests import RowsPage
from unembed.calls.submission import Sent, submit
from unembed.corpus import Coding
from unembed.estimates import Estimate
from unembed.generations import rows_of
from unembed.home import known_key, require_url
from unembed.job import JobHandle
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
from unembed.transport import Transport

if TYPE_CHECKING:
    import httpx2
    import pyarrow as pa

__all__ = ["Client", "JobHandle", "Order", "Sent"]


class Client:
    """A server of Unembed. `url` defaults to UNEMBED_URL, and then to the `unembed up` that runs on this machine;
    `api_key` to UNEMBED_API_KEY, and then to what the file holds that UNEMBED_API_KEY_FILE names. `timeout` is in
    seconds and of one request; `retries` are of one request too.

    A server whose queue is full is asked again, for `busy_timeout` seconds; `busy` is told each time why, and how many
    seconds it will be until then. It is called from several threads.

    `progress`: whether `submit` and `wait` show a bar, on stderr; by default in terminals and notebooks.

    All that goes wrong is raised as an `UnembedError`, whose `code` says what, for programs."""

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
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        server = RemoteServer(
            require_url(url), known_key(api_key), timeout=timeout, retries=retries, busy_timeout=busy_timeout, busy=busy
        )
        self._api = Transport(server, transport)
        self._progress = progress

    @property
    def url(self) -> str:
        return self._api.server.url

    def __repr__(self) -> str:
        return f"<Client {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._api.close()

    def submit(
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
    ) -> JobHandle:
        """Sends a corpus in batches of `batch_size` rows, and returns its job.

        The source is a path or several; an array or tensor; a frame or series of pandas or Polars, or anything else
        that Arrow reads; lists of rows; or an iterator of such, of which a few batches are in memory at a time.

        Workers may begin before the last batch is sent. With an `idempotency_key` an interrupted submit is continued
        by the same call, which sends what is missing: what never arrived, and what the server has lost since. A
        finished one is found again; an iterator is then read whole, to be known again. Without a key, what cannot be
        sent whole is cancelled. `created` is told of the job as it is before anything is sent, or sent again.

        `column` and `id_column` are paths, `response.body.data.0.embedding`; without them, both are looked for. `cells`
        says what quantised numbers, or bytes, mean: `unembed.corpus.Coding`. A row without a vector is an error row.

        `embedder` says whose vectors they are, "text-embedding-3-small"; without it, the corpus may. Where the decoder
        reads another's, nothing is sent.

        With `by_reference` the source is a path or URI, or several, of parquet, Arrow or .npy files that the workers
        read themselves, under a root that the server allows; only their footers are read here, and no vector is sent.

        With `results_to`, a folder or URI under a root that the server allows, workers write the rows there, a parquet
        file a batch, and not into the database. They are read back as those of any job.

        `priority` is the job's share of the workers while others wait too: "high", "normal" or "low". `labels` are
        names and values of your own, to find the job by. `webhook` is where the end of the job is told.

        `carry` names columns of the source, or fields in them, that are kept with the job: they are beside the texts on
        its pages, in its results and in its files. A row may carry 4,096 bytes.

        `progress` is told of the rows sent, and of how many there are; True or False: whether to show a bar.
        """
        with listening(progress, self._progress) as listener:
            job = self._api.run(
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
        return JobHandle(self, job)

    def decode(
        self,
        vectors: object,
        *,
        decoder: str = DEFAULT_DECODER,
        seed: int = 0,
        options: DecodeOptions | None = None,
        timeout: float | None = None,
        progress: bool | None = None,
    ) -> list[str | None]:
        """The texts of some vectors, in their order; None where one holds nothing that could be decoded.

        For a quick look: `submit` takes the same and gives the job, with scores and reasons. The job stays on the
        server. Raises WaitTimeoutError after `timeout` seconds, and JobFailedError when no row has a text.
        """
        job = self.submit(vectors, decoder=decoder, seed=seed, options=options, progress=progress)
        return job.wait(timeout, progress=progress).to_arrow()["text"].to_pylist()

    def estimate(
        self,
        rows: int,
        embedding_dim: int,
        *,
        decoder: str = DEFAULT_DECODER,
        options: DecodeOptions | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        priority: Priority | str = Priority.NORMAL,
    ) -> Estimate:
        """How long a job of so many rows would take that was submitted now. Nothing is sent, and nothing is queued."""
        return self._api.send(requests.estimate(rows, embedding_dim, decoder, options, batch_size, priority))

    def job(self, job_id: str) -> JobHandle:
        return JobHandle(self, self._api.send(requests.job(job_id)))

    def jobs(
        self,
        limit: int = 50,
        cursor: str | None = None,
        state: JobState | str | None = None,
        *,
        decoder: str | None = None,
        name: str | None = None,
        labels: Sequence[str] = (),
    ) -> JobPage:
        """The newest jobs first; `next_cursor` leads to the next page.

        Those of this state and decoder, with `name` in their name, and with all `labels`: "team=search", or "team" for
        any value.
        """
        return self._api.send(requests.jobs(limit, cursor, state, decoder, name, labels))

    def batches(self, job_id: str) -> Iterator[Batch]:
        """The job's batches in the order of their ordinals, fetched a page at a time."""
        cursor: str | None = None
        while True:
            page = self._api.send(requests.batches(job_id, cursor))
            yield from page.batches
            cursor = page.next_cursor
            if cursor is None:
                return

    def decoders(self) -> list[DecoderInfo]:
        """The decoders that a job may name."""
        found = self._api.send(requests.decoders())
        return DecoderList(found)

    def decoder(self, name: str) -> DecoderInfo:
        """One of them, with a hash of its checkpoint. UnknownDecoderError when there is none of this name."""
        return self._api.send(requests.decoder(name))

    def cancel(self, job_id: str) -> Job:
        """No batch of it starts any more; what is done stays. ConflictError when it has ended already."""
        return self._api.send(requests.cancel(job_id))

    def retry(self, job_id: str) -> Job:
        """Its dead batches are tried again, as far as the server still has their vectors; submit the others again,
        under the key that the job had. ConflictError when there are none, or the job was cancelled."""
        return self._api.send(requests.retry(job_id))

    def remove(self, job_id: str) -> None:
        """An ended job goes, with its rows and whatever is left of it. ConflictError while it has not ended."""
        self._api.send(requests.remove(job_id))

    def results(self, job_id: str, order: Order = "finished") -> Iterator[Generation]:
        """The rows that are there by now, a value each, fetched a page at a time."""
        for batch in self.result_batches(job_id, order):
            yield from rows_of(batch)

    def result_batches(self, job_id: str, order: Order = "finished") -> Iterator[pa.RecordBatch]:
        """The rows that are there by now as columns of `unembed.generations.SCHEMA`, with what the job carries behind
        them, a page at a time.

        While one page is used, the next is on its way: two are in memory at most.
        """
        return self._rows(pages_of_results(job_id, order))

    def errors(self, job_id: str) -> Iterator[Generation]:
        """The rows without a text, in the order of the corpus: all of them once the job has ended."""
        for batch in self._rows(pages_of_errors(job_id)):
            yield from rows_of(batch)

    def download(self, job_id: str, path: str | os.PathLike[str], format: ResultsFormat | None = None) -> Path:
        """All rows of an ended job as a file, in the order of the corpus: parquet, arrow, csv or jsonl, by its suffix.

        It appears when it is whole; a connection that breaks costs a few megabytes. ConflictError while the job has not
        ended, OutputError when it cannot be written.
        """
        return self._api.run(download(job_id, path, format))

    def _rows(self, pages: Pages) -> Iterator[pa.RecordBatch]:
        ahead = ThreadPoolExecutor(1, "results")

        def fetch(cursor: str | None) -> Future[RowsPage]:
            return ahead.submit(self._api.send, pages.after(cursor))

        try:
            coming: Future[RowsPage] | None = fetch(None)
            while coming is not None:
                page = coming.result()
                cursor = pages.next_after(page)
                coming = None if cursor is None else fetch(cursor)
                if page.rows.num_rows:
                    yield page.rows
        finally:
            ahead.shutdown(wait=False, cancel_futures=True)
