"""Submit corpora to a server of Unembed, wait for them, read their texts.

job = Client().submit("corpus.parquet").wait()
for row in job.results():
    print(row.index, row.text, row.overall_quality)
"""

from __future__ import annotations

import hashlib
import os
import shlex
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from unembed.boundary import describe
from unembed.corpus import Coding, Corpus, ReferencedCorpus, Slice, as_corpus, encode_payload, open_reference
from unembed.embedders import may_be_same
from unembed.errors import EmbedderError, InputError, UnembedError
from unembed.estimates import Estimate, EstimateRequest
from unembed.generations import rows_of
from unembed.home import require_url
from unembed.job import JobHandle
from unembed.references import ReferencesAccepted
from unembed.roots import as_uri
from unembed.schemas import (
    ARROW_STREAM,
    DEFAULT_BATCH_SIZE,
    DEFAULT_DECODER,
    NEXT_CURSOR,
    Batch,
    BatchPage,
    DecodeOptions,
    DecoderInfo,
    Generation,
    Job,
    JobCreate,
    JobPage,
    JobSeal,
    JobState,
    Order,
    Priority,
    Webhook,
)
from unembed.transport import BUSY_TIMEOUT, Busy, Stop, Transport

if TYPE_CHECKING:
    import httpx2
    import pyarrow as pa

UPLOADS: Final = 4  # batches on their way at once; twice as many are held in memory
PAGE_ROWS: Final = 8000
PAGE_BATCHES: Final = 1000

__all__ = ["Client", "JobHandle", "Order", "Sent"]

T = TypeVar("T", JobCreate, EstimateRequest)
Sent = Callable[[int, int], None]  # rows sent, rows in all


class _Page(NamedTuple):
    rows: pa.RecordBatch
    cursor: str | None  # of the next page


class Client:
    """A server of Unembed. `url` and `api_key` default to UNEMBED_URL and UNEMBED_API_KEY, and then to the `unembed up`
    that runs on this machine. `timeout` is in seconds and of one request; `retries` are of one request too.

    A server whose queue is full is asked again, for `busy_timeout` seconds; `busy` is told each time why, and how many
    seconds it will be until then. It is called from several threads."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 5,
        busy_timeout: float = BUSY_TIMEOUT,
        busy: Busy = lambda _why, _pause: None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        key = api_key or os.environ.get("UNEMBED_API_KEY")
        self._api = Transport(
            require_url(url),
            key,
            timeout=timeout,
            retries=retries,
            busy_timeout=busy_timeout,
            busy=busy,
            transport=transport,
        )

    @property
    def url(self) -> str:
        return self._api.url

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
        progress: Sent | None = None,
        created: Callable[[Job], object] = lambda _job: None,
    ) -> JobHandle:
        """Sends a corpus, a path to one or several paths, or vectors in memory, in batches of `batch_size` rows, and
        returns its job.

        Workers may begin before the last batch is sent. With an `idempotency_key` an interrupted submit is continued
        by the same call, which sends what is missing: what never arrived, and what the server has lost since. A
        finished one is found again. Without a key, what cannot be sent whole is cancelled. `created` is told of the job
        as it is before anything is sent, or sent again.

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
        """
        corpus: Corpus | ReferencedCorpus
        if by_reference:
            if cells is not None:
                raise InputError("cells do not go with a corpus by reference, whose workers read floats only")
            corpus = _referenced(source, column, id_column, ids)
        else:
            corpus = as_corpus(source, column=column, id_column=id_column, ids=ids, cells=cells)
        if named := embedder or corpus.embedder:
            self._require_reader(decoder, named)
        spec = _checked(
            JobCreate,
            decoder=decoder,
            embedding_dim=corpus.dim,
            seed=seed,
            options=options or DecodeOptions(),
            name=name,
            results_uri=None if results_to is None else as_uri(results_to),
            priority=priority,
            labels=labels or {},
            webhook=webhook,
            fingerprint=corpus.fingerprint if idempotency_key else None,
        )
        # A key of our own makes it safe to try again when the answer to this request is lost.
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        job: Job = self._api.fetch(Job, "POST", "/v1/jobs", json=spec.model_dump(mode="json"), headers=headers)
        try:
            created(job)
            if isinstance(corpus, ReferencedCorpus):
                job = self._refer(job, corpus, batch_size, progress)
            else:
                job = self._complete(job, corpus, batch_size, progress)
        except BaseException:
            if idempotency_key is None:
                self._try_to_cancel(job.id)
            raise
        return JobHandle(self, job)

    def _require_reader(self, decoder: str, embedder: str) -> None:
        """Raises EmbedderError, naming the decoders that read this embedder's vectors, where this one does not."""
        there = {one.name: one.encoder for one in self.decoders() if one.encoder}
        reads = there.get(decoder)
        if reads is None or may_be_same(reads, embedder):
            return
        others = [name for name, encoder in there.items() if may_be_same(encoder, embedder)]
        advice = (
            f"--decoder {others[0]} reads them"
            if others
            else "no decoder here reads them, and docs/training.md says how to make one"
        )
        raise EmbedderError(
            f"the vectors are of {embedder!r}, but the decoder {decoder!r} reads those of {reads!r}; {advice}. If they "
            f"are of {reads!r} after all: --embedder {shlex.quote(reads)}"
        )

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
        asked = _checked(
            EstimateRequest,
            rows=rows,
            embedding_dim=embedding_dim,
            decoder=decoder,
            options=options or DecodeOptions(),
            batch_size=batch_size,
            priority=priority,
        )
        found: Estimate = self._api.fetch(Estimate, "POST", "/v1/jobs:estimate", json=asked.model_dump(mode="json"))
        return found

    def job(self, job_id: str) -> JobHandle:
        return JobHandle(self, self._api.fetch(Job, "GET", f"/v1/jobs/{job_id}"))

    def jobs(
        self,
        limit: int = 50,
        cursor: str | None = None,
        state: JobState | None = None,
        *,
        decoder: str | None = None,
        name: str | None = None,
        labels: Sequence[str] = (),
    ) -> JobPage:
        """The newest jobs first; `next_cursor` leads to the next page.

        Those of this state and decoder, with `name` in their name, and with all `labels`: "team=search", or "team" for
        any value.
        """
        given = {"limit": limit, "cursor": cursor, "state": state, "decoder": decoder, "name": name, "label": labels}
        params = {key: value for key, value in given.items() if value is not None}
        page: JobPage = self._api.fetch(JobPage, "GET", "/v1/jobs", params=params)
        return page

    def batches(self, job_id: str) -> Iterator[Batch]:
        """The job's batches in the order of their ordinals, fetched a page at a time."""
        cursor: str | None = None
        while True:
            params = {"limit": PAGE_BATCHES} | ({"cursor": cursor} if cursor else {})
            page: BatchPage = self._api.fetch(BatchPage, "GET", f"/v1/jobs/{job_id}/batches", params=params)
            yield from page.batches
            cursor = page.next_cursor
            if cursor is None:
                return

    def decoders(self) -> list[DecoderInfo]:
        """The decoders that a job may name."""
        found: list[DecoderInfo] = self._api.fetch(list[DecoderInfo], "GET", "/v1/decoders")
        return found

    def decoder(self, name: str) -> DecoderInfo:
        """One of them, with a hash of its checkpoint. UnknownDecoderError when there is none of this name."""
        found: DecoderInfo = self._api.fetch(DecoderInfo, "GET", f"/v1/decoders/{quote(name, safe='')}")
        return found

    def cancel(self, job_id: str) -> Job:
        """No batch of it starts any more; what is done stays. ConflictError when it has ended already."""
        job: Job = self._api.fetch(Job, "POST", f"/v1/jobs/{job_id}/cancel")
        return job

    def retry(self, job_id: str) -> Job:
        """Its dead batches are tried again, as far as the server still has their vectors; submit the others again,
        under the key that the job had. ConflictError when there are none, or the job was cancelled."""
        job: Job = self._api.fetch(Job, "POST", f"/v1/jobs/{job_id}/retry")
        return job

    def remove(self, job_id: str) -> None:
        """An ended job goes, with its rows and whatever is left of it. ConflictError while it has not ended."""
        self._api.send("DELETE", f"/v1/jobs/{job_id}")

    def results(self, job_id: str, order: Order = "finished") -> Iterator[Generation]:
        """The rows that are there by now, a value each, fetched a page at a time."""
        for batch in self.result_batches(job_id, order):
            yield from rows_of(batch)

    def result_batches(self, job_id: str, order: Order = "finished") -> Iterator[pa.RecordBatch]:
        """The rows that are there by now as columns of `unembed.generations.SCHEMA`, a page at a time.

        While one page is used, the next is on its way: two are in memory at most.
        """
        ahead = ThreadPoolExecutor(1, "results")
        try:
            coming: Future[_Page] | None = ahead.submit(self._page, job_id, order, None)
            while coming is not None:
                rows, cursor = coming.result()
                goes_on = cursor is not None and rows.num_rows > 0
                coming = ahead.submit(self._page, job_id, order, cursor) if goes_on else None
                if rows.num_rows:
                    yield rows
        finally:
            ahead.shutdown(wait=False, cancel_futures=True)

    def _page(self, job_id: str, order: Order, cursor: str | None) -> _Page:
        params = {"limit": PAGE_ROWS, "order": order} | ({"cursor": cursor} if cursor else {})
        rows, headers = self._api.fetch_rows(f"/v1/jobs/{job_id}/results", params)
        return _Page(rows, headers.get(NEXT_CURSOR))

    def _refer(self, job: Job, corpus: ReferencedCorpus, batch_size: int, progress: Sent | None) -> Job:
        """Sends where the batches are, and seals the job; nothing if it was sealed before."""
        if job.state is not JobState.RECEIVING:
            return job
        batches = rows = 0
        for request in corpus.requests(batch_size):
            body = request.model_dump(mode="json")
            self._api.fetch(ReferencesAccepted, "POST", f"/v1/jobs/{job.id}/batches", json=body)
            batches, rows = batches + len(request.batches), rows + sum(each.rows for each in request.batches)
            if progress:
                progress(rows, corpus.rows)
        return self._seal(job, batches, rows)

    def _complete(self, job: Job, corpus: Corpus, batch_size: int, progress: Sent | None) -> Job:
        """Sends what has not arrived, and what the server has lost since."""
        known = {batch.ordinal: batch for batch in self.batches(job.id)} if job.batches.total else {}
        if job.state is JobState.RECEIVING or any(batch.lacks_its_vectors for batch in known.values()):
            return self._send(job, corpus, known, batch_size, progress)
        return job

    def _send(
        self, job: Job, corpus: Corpus, known: Mapping[int, Batch], batch_size: int, progress: Sent | None
    ) -> Job:
        """Sends the batches that are not known, or whose vectors are lost, and seals the job if it is open."""
        size = _cut_before(known.values()) or batch_size
        batches = rows = sent = 0
        waiting: deque[Future[int]] = deque()
        stop = Stop()

        def settle() -> None:
            nonlocal sent
            sent += waiting.popleft().result()
            if progress:
                progress(sent, corpus.rows)

        with ThreadPoolExecutor(UPLOADS, "upload") as pool:
            try:
                for ordinal, batch in enumerate(corpus.batches(size)):
                    waiting.append(pool.submit(self._put, job.id, ordinal, batch, known.get(ordinal), stop))
                    batches, rows = ordinal + 1, rows + len(batch)
                    if len(waiting) == 2 * UPLOADS:
                        settle()
                while waiting:
                    settle()
            except BaseException:
                stop.set()  # nobody waits for a server that is busy any more
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if job.sealed_at is not None:
            return self.job(job.id).job
        return self._seal(job, batches, rows)

    def _seal(self, job: Job, batches: int, rows: int) -> Job:
        seal = JobSeal(batches=batches, rows=rows)
        sealed: Job = self._api.fetch(Job, "POST", f"/v1/jobs/{job.id}/seal", json=seal.model_dump())
        return sealed

    def _put(self, job_id: str, ordinal: int, batch: Slice, known: Batch | None, stop: Stop) -> int:
        payload = encode_payload(batch.embeddings, batch.ids, batch.faults)
        # One that arrived as something else is sent too: the server says what is wrong.
        there = known is not None and known.sha256 == hashlib.sha256(payload).hexdigest()
        if known is None or not there or known.lacks_its_vectors:
            path, params = f"/v1/jobs/{job_id}/batches/{ordinal}", {"first_index": batch.first_index}
            headers = {"Content-Type": ARROW_STREAM}
            self._api.send("PUT", path, stop=stop, params=params, content=payload, headers=headers)
        return len(batch)

    def _try_to_cancel(self, job_id: str) -> None:
        try:
            self.cancel(job_id)
        except UnembedError:
            return  # the error that led here says more; a job that is never sealed decodes what it has and harms nobody


def _cut_before(known: Iterable[Batch]) -> int | None:
    """The batch size that a corpus was begun with: another one would fit no batch that has arrived.

    Any batch but the first tells by where it begins; the last one is shorter than the others.
    """
    return max((batch.first_index // batch.ordinal if batch.ordinal else batch.rows for batch in known), default=None)


def _checked(kind: type[T], **fields: Any) -> T:
    """The value; InputError that names the field and what was expected."""
    try:
        return kind(**fields)
    except ValidationError as error:
        raise InputError(describe(error)) from None


def _referenced(
    source: object, column: str | None, id_column: str | None, ids: Sequence[object] | None
) -> ReferencedCorpus:
    named = [source] if isinstance(source, (str, os.PathLike)) else source
    if not isinstance(named, (list, tuple)) or not all(isinstance(each, (str, os.PathLike)) for each in named):
        raise InputError(f"a corpus by reference is the paths or URIs of files, not {type(source).__name__}")
    if ids is not None:
        raise InputError("a corpus by reference is the paths or URIs of files, not ids in memory")
    return open_reference(named, column, id_column)
