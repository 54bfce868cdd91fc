"""One batch on its way in: read, checked, let in, kept in Redis, recorded in SQL, announced. In that order."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import anyio
import pyarrow as pa
from starlette.exceptions import HTTPException
from starlette.requests import Request

from unembed import tracing
from unembed.api import admission
from unembed.api.deps import Deps
from unembed.carried import require_small, schema_of
from unembed.corpus import Slice, decode_payload, decode_raw, encode_payload
from unembed.errors import DimensionError, InputError, QueueUnavailableError, TooLargeError
from unembed.models.settings import Settings
from unembed.models.store import ClientLimits, JobHead
from unembed.references import ReferencedBatches, ReferencesAccepted
from unembed.roots import Roots
from unembed.schemas import ARROW_STREAM, CARRIED, RAW_BYTES, Batch, JobState, batch_id_of
from unembed.worker.celery import publish

log = logging.getLogger(__name__)

_NAMED: Final = 100  # batches of a request by reference that get a line each in the log; there may be thousands
BODY_WITHIN: Final = 300.0  # seconds for one batch to arrive

RawDtype = Literal["float16", "float32", "float64"]


@dataclass(frozen=True)
class Upload:
    """A batch as it came; `dtype` is needed for raw bytes only, for an Arrow stream says it itself."""

    job: JobHead
    ordinal: int
    first_index: int
    media_type: str
    dtype: RawDtype | None
    body: bytes
    limits: ClientLimits


def media_type(content_type: str | None) -> str:
    """The batch's media type without its parameters; 415 unless it is one of the two."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind not in (ARROW_STREAM, RAW_BYTES):
        raise HTTPException(415, f"a batch has the Content-Type {ARROW_STREAM} or {RAW_BYTES}, not {kind or 'none'}")
    return kind


async def read_body(request: Request) -> bytes:
    """The whole body; 408 when it does not arrive in time, for others wait for its place."""
    try:
        with anyio.fail_after(BODY_WITHIN):
            return await request.body()
    except TimeoutError:
        raise HTTPException(
            408, f"the batch did not arrive within {BODY_WITHIN:.0f} s; send smaller batches over a slow connection"
        ) from None


def accept(deps: Deps, upload: Upload) -> tuple[Batch, bool]:
    """The recorded batch, and whether it is new; False when this ordinal was accepted before with the same rows.

    A batch that is dead because its vectors were lost is queued again. Raises what `payload_of` raises, BusyError when
    there is no room for it, ConflictError when the job is not receiving or has other rows at this ordinal, and
    UnavailableError when Redis or the database is down: then nothing was accepted, and the client sends it again.
    """
    with tracing.span("store batch", job=upload.job.id, bytes=len(upload.body)) as shown:
        batch, created = _accept(deps, upload)
        shown.note(batch=batch.id, rows=batch.rows)
        if created:
            log.info("accepted: %d rows, %d bytes", batch.rows, len(upload.body), extra=_of(batch))
        return batch, created


def _of(batch: Batch) -> dict[str, str]:
    """What a line of the log says of it."""
    return {"job": batch.job_id, "batch": batch.id}


def _accept(deps: Deps, upload: Upload) -> tuple[Batch, bool]:
    payload, rows, carried = payload_of(upload, deps.settings)
    admission.require_room(deps, upload.job, rows, len(payload), upload.limits)
    digest = hashlib.sha256(payload).hexdigest()
    batch_id = batch_id_of(upload.job.id, upload.ordinal)
    # Never over a payload that is there: it may be that of an accepted batch, and this upload about to be refused.
    receiving = upload.job.state is JobState.RECEIVING
    kept = receiving and deps.payloads.put(batch_id, payload, replace=False)
    batch, created = deps.store.jobs.add_batch(
        upload.job.id, upload.ordinal, upload.first_index, rows, len(payload), digest, announced=True, carried=carried
    )
    if batch.lacks_its_vectors:
        return _revive(deps, batch, payload), False
    if batch.state.is_ended:
        deps.payloads.delete([batch.id])
    elif not kept:
        # What is there may be of an upload that was never recorded. Of a running batch, too: its attempt may yet fail.
        deps.payloads.put(batch.id, payload)
    if created:
        send_messages(deps, [batch.id])
    return batch, created


def _revive(deps: Deps, batch: Batch, payload: bytes) -> Batch:
    deps.payloads.put(batch.id, payload)  # first: whoever claims the batch looks for it at once
    revived = deps.store.requeue.after_resend(batch.id)
    announce(deps, revived)
    return revived


def payload_of(upload: Upload, settings: Settings) -> tuple[bytes, int, pa.RecordBatch | None]:
    """The Arrow stream that the worker will read, its number of rows, and what they carry.

    Raises CorpusError for what cannot be read, DimensionError, InputError and TooLargeError for what does not fit the
    job.
    """
    if upload.media_type == ARROW_STREAM:
        found = decode_payload(upload.body)
        payload = upload.body
    else:
        if upload.dtype is None:
            raise InputError("raw bytes need the query parameter `dtype`: float16, float32 or float64")
        found = decode_raw(upload.body, upload.dtype, upload.job.embedding_dim)
        payload = encode_payload(found.embeddings)
    _check(found, upload.job, settings)
    return payload, len(found), _carried(found, upload)


def _carried(found: Slice, upload: Upload) -> pa.RecordBatch | None:
    """The columns that the job was opened with. Raises InputError for others, and for rows that carry too much."""
    carry = upload.job.carry
    if found.carried is None:
        if not carry:
            return None
        raise InputError(
            f"the job {upload.job.id} carries {', '.join(carry)}, but the batch does not; expected an Arrow "
            f"stream with a struct of these in its column {CARRIED!r}"
        )
    expected = schema_of(carry)
    given = found.carried
    if given.schema.names != expected.names:
        there = f"carries {', '.join(expected.names)}" if carry else "was opened without `carry`"
        raise InputError(f"the batch carries {', '.join(given.schema.names)}, but the job {upload.job.id} {there}")
    for theirs, ours in zip(given.schema, expected, strict=True):
        if theirs.type not in (ours.type, pa.large_string() if pa.types.is_string(ours.type) else ours.type):
            raise InputError(f"the carried column {ours.name!r} of the batch is {theirs.type}; expected {ours.type}")
    rows = given.cast(expected)
    require_small(rows, upload.first_index)
    return rows


def _check(found: Slice, job: JobHead, settings: Settings) -> None:
    if found.dim != job.embedding_dim:
        raise DimensionError.between(found.dim, job.embedding_dim, f"the job {job.id}")
    _expect_rows(len(found), settings)
    # An Arrow stream may be compressed: what counts is what the worker will hold.
    _expect_bytes(found.embeddings.nbytes, settings)


def _expect_rows(rows: int, settings: Settings) -> None:
    if rows > settings.max_batch_rows:
        raise TooLargeError(f"the batch has {rows} rows, but at most {settings.max_batch_rows} are accepted")


def _expect_bytes(nbytes: int, settings: Settings) -> None:
    if nbytes > settings.max_batch_bytes:
        raise TooLargeError(
            f"the batch's embeddings have {nbytes} bytes, but at most {settings.max_batch_bytes} are accepted"
        )


def accept_references(deps: Deps, job: JobHead, given: ReferencedBatches, limits: ClientLimits) -> ReferencesAccepted:
    """Record batches whose vectors workers read themselves, and announce the new ones; the file is not opened here.

    Raises InputError for a job that carries columns, RootsError, TooLargeError, BusyError, ConflictError and
    UnavailableError: then none was accepted.
    """
    if job.carry:
        raise InputError(
            f"the job {job.id} carries {', '.join(job.carry)}, which come with vectors that are sent; batches by "
            "reference carry nothing"
        )
    Roots.of(deps.settings.corpus_roots).require(given.file.uri)
    for each in given.batches:
        _expect_rows(each.rows, deps.settings)
        _expect_bytes(each.rows * job.embedding_dim * 4, deps.settings)  # as float32, which is what the worker decodes
    admission.require_room(deps, job, sum(each.rows for each in given.batches), 0, limits)
    with tracing.span("store batches", job=job.id, batches=len(given.batches)):
        accepted = deps.store.jobs.add_references(job.id, given, announced=True)
    added = [batch for batch, created in accepted if created]
    new = [batch.id for batch in added]
    log.info("accepted by reference: %d batches", len(new), extra={"job": job.id})
    for batch in added[:_NAMED]:
        log.info("accepted by reference: %d rows", batch.rows, extra=_of(batch))
    send_messages(deps, new)
    return ReferencesAccepted(added=len(new), known=len(accepted) - len(new))


def announce(deps: Deps, *batches: Batch) -> None:
    """Send the messages of batches that wait, and record that they were sent."""
    unsent = send_messages(deps, [batch.id for batch in batches])
    deps.store.queue.mark_published([batch.id for batch in batches if batch.id not in unsent])


def send_messages(deps: Deps, batch_ids: Sequence[str]) -> set[str]:
    """Those that could not be sent. The batches are safe in SQL, so a failure only makes them wait for the sweeper."""
    for place, batch_id in enumerate(batch_ids):
        try:
            publish(deps.celery, batch_id)
        except QueueUnavailableError as error:
            unsent = batch_ids[place:]
            log.warning("%d batches are not announced yet; the sweeper will do it: %s", len(unsent), error)
            deps.store.queue.mark_unsent(unsent)
            return set(unsent)
    return set()
