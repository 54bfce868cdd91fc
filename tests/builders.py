"""Jobs, batches and rows for tests, with every value that a test does not care about filled in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from unembed.generations import from_rows, rows_of
from unembed.schemas import Batch, DecodeOptions, Generation, Job, JobCreate, RowStatus, Timings, batch_id_of

if TYPE_CHECKING:
    from unembed.models.decoder.base import TextDecoder
    from unembed.models.decoder.vectors import Vectors
    from unembed.models.store import Store

DIM = 4


def make_job(store: Store, *, client: str = "", idempotency_key: str | None = None, **spec: Any) -> Job:
    """A new job, receiving; further keywords are fields of JobCreate."""
    job, _ = store.jobs.create(
        JobCreate(**{"embedding_dim": DIM, **spec}), client=client, idempotency_key=idempotency_key
    )
    return job


def add_batches(
    store: Store,
    job: Job,
    rows: Sequence[int] = (2, 2),
    *,
    seal: bool = True,
    carried: pa.RecordBatch | None = None,
) -> list[Batch]:
    """Batches with these numbers of rows, one after the other from index 0; sealed unless told otherwise. `carried`:
    what all of the rows carry."""
    batches, first = [], 0
    for ordinal, count in enumerate(rows):
        digest = hashlib.sha256(batch_id_of(job.id, ordinal).encode()).hexdigest()
        some = None if carried is None else carried.slice(first, count)
        batch, _ = store.jobs.add_batch(job.id, ordinal, first, count, count * DIM * 4, digest, carried=some)
        batches.append(batch)
        first += count
    if seal:
        store.jobs.seal(job.id, len(batches), first)
    return batches


def generations(batch: Batch, *, errors: Sequence[int] = ()) -> pa.RecordBatch:
    """One row for each of the batch's; those at the offsets in `errors` are error rows."""
    return from_rows(
        _error(index) if offset in errors else _text(index, f"text {index}")
        for offset, index in enumerate(_indices(batch))
    )


def decoded(indices: Sequence[int], texts: Sequence[str]) -> pa.RecordBatch:
    """Rows with these texts, again and again: for what is measured, where it matters how long a text is."""
    return from_rows(_text(index, texts[index % len(texts)]) for index in indices)


def read(store: Store, job_id: str, **page: Any) -> list[Generation]:
    """The rows of the first page of results, a value each."""
    return list(rows_of(store.results.page(job_id, **page).rows))


def decode_rows(
    decoder: TextDecoder, embeddings: Vectors, indices: Sequence[int], options: DecodeOptions, seed: int = 0
) -> list[Generation]:
    """What the decoder's `decode_rows` returns, a value a row."""
    return list(rows_of(decoder.decode_rows(embeddings, indices, options, seed).rows))


def _indices(batch: Batch) -> range:
    return range(batch.first_index, batch.first_index + batch.rows)


def _text(index: int, text: str) -> Generation:
    return Generation(
        index=index,
        id=f"row-{index}",
        text=text,
        status=RowStatus.OK,
        source="ret-v21-minilm",
        tokens=3,
        overall_quality=0.5,
        fluency=0.5,
        coherence=0.5,
        diversity=0.5,
        off_manifold=False,
        decode_ms=1.5,
    )


def run_job(store: Store, job: Job, *, errors: tuple[int, ...] = ()) -> Job:
    """Claim and finish every batch that waits; `errors` are the offsets of error rows in each."""
    for batch in store.jobs.batches(job.id):
        if claim := store.attempts.claim(batch.id, "worker", 5.0):
            store.attempts.finish(batch.id, claim.attempt, generations(batch, errors=errors), Timings())
    return store.jobs.get(job.id)


def _error(index: int) -> Generation:
    return Generation(
        index=index, id=f"row-{index}", status=RowStatus.ERROR, error_code="not_finite", error="row has NaN"
    )
