"""decode.batch: claim → load → decode → finish.

Whatever happens in between ends in the batch's row, not in the message: an error is `fail`, a cancelled job
`cancel_running`, a shutdown `release`, and a batch that another attempt has taken is left alone.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, TypeVar

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded

from unembed import tracing
from unembed.codes import FailureCode
from unembed.corpus import Slice, decode_payload
from unembed.corpus.storage import FileMissingError
from unembed.errors import CorpusError, DimensionError, UnavailableError, UnembedError
from unembed.generations import counts_of
from unembed.models import logs
from unembed.models.decoder.failures import is_broken_device
from unembed.models.parts import part_uri
from unembed.models.payloads import PayloadDamagedError, PayloadMissingError
from unembed.models.store import Claim
from unembed.schemas import BatchState, RowStatus, Timings
from unembed.worker import runtime
from unembed.worker.celery import DECODE_BATCH
from unembed.worker.context import Context
from unembed.worker.heartbeat import CancelledError, FencedError, HandBackError, Heart
from unembed.worker.process import context, hands_back_on_sigterm
from unembed.worker.spans import attempt_span

log = logging.getLogger(__name__)

Outcome = dict[str, Any]  # for the log: small, and ids rather than texts
T = TypeVar("T")

_PATIENCE: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between attempts to reach a database that is away


@shared_task(  # type: ignore[untyped-decorator]
    name=DECODE_BATCH,
    bind=True,
    Request="unembed.worker.lost_processes:BatchRequest",
    send_events=False,  # Celery's events tell of the message; we tell of the attempt (worker/flower_tasks.py)
)
def decode_batch(self: Task, batch_id: str) -> Outcome:
    with hands_back_on_sigterm():
        return run(batch_id, context(), message=self.request.id)


def run(named: str, worker: Context, *, message: str | None = None) -> Outcome:
    """One attempt at the batch whose turn it is. `named` is the batch that the message was sent for, and is tried where
    none waits.

    Raises StoreUnavailableError alone: the lease, or the sweeper, brings the batch back.
    """
    began = time.time()
    claim = _retrying(lambda: _claim(named, worker, message))
    if claim is None:
        # Nothing waits, or for its back-off alone, and this message was one too many.
        if message is not None and worker.settings.events:
            worker.feed.ignored(message, named, worker.name, _state_of(named, worker))
        return {"batch": named, "outcome": "not claimed"}
    with (
        logs.about(job=claim.job.id, batch=claim.batch.id, attempt=claim.attempt),
        attempt_span(claim, worker.name, began) as shown,
    ):
        outcome = _held(claim, worker, shown)
        shown.note(outcome=outcome["outcome"])
        log.info("the attempt has ended: %s", outcome["outcome"], extra={"error_code": outcome.get("error")})
    return outcome


def _held(claim: Claim, worker: Context, shown: tracing.Span) -> Outcome:
    """From the claim to the end of the attempt."""
    store, settings, batch_id = worker.store, worker.settings, claim.batch.id
    worker.feed.started(claim, worker.name, worker.device)
    try:
        with Heart(
            lambda rows: store.attempts.heartbeat(batch_id, claim.attempt, settings.lease, rows),
            settings.heartbeat,
            worker.stopping,
            hung=_leave_to_another_child,
        ) as heart:
            return _attempt(claim, worker, heart)
    except CancelledError:
        store.attempts.cancel_running(batch_id, claim.attempt)
        _forget_payload(batch_id, worker)
        _tell(claim, worker, BatchState.CANCELLED)
        return _outcome(claim, "cancelled")
    except FencedError:
        _forget_parts(claim, worker, [claim.attempt])  # had it been this attempt that finished, it would not be fenced
        return _outcome(claim, "fenced")
    except HandBackError:
        _hand_back(claim, worker)
        _tell(claim, worker, BatchState.QUEUED, error="its worker shuts down: the batch is handed back")
        return _outcome(claim, "handed back")
    except Exception as error:
        return _failed(claim, worker, error, shown)


def _claim(named: str, worker: Context, message: str | None) -> Claim | None:
    lease = worker.settings.lease
    while (batch_id := worker.store.queue.first_in_turn()) is not None:
        if claim := worker.store.attempts.claim(batch_id, worker.name, lease, message, or_next=True):
            return claim  # else other workers took all of that job: the next one
    return worker.store.attempts.claim(named, worker.name, lease, message)


def _attempt(claim: Claim, worker: Context, heart: Heart) -> Outcome:
    batch, job = claim.batch, claim.job
    began = time.perf_counter()
    with tracing.span("read payload", by_reference=batch.reference is not None):
        vectors = _load(claim, worker)
    heart.check()
    decoder = worker.decoders.get(job.decoder)
    _introduce(worker, decoder)
    load_ms = (time.perf_counter() - began) * 1000
    with tracing.span("decode", rows=batch.rows, decoder=job.decoder, **_made_with(decoder)):
        decoded = runtime.decode_slice(
            decoder, vectors, job, micro_batch=worker.settings.micro_batch, between=heart.check
        )
        explained = runtime.explained(decoder, vectors, job, decoded)
    timings = Timings(load_ms=load_ms, decode_ms=decoded.decode_ms, score_ms=decoded.score_ms)
    memory = decoder.peak_memory_bytes()
    with tracing.span("write results", rows=batch.rows):
        part = None
        if job.results_uri is not None:
            heart.check()
            part = worker.parts.write(part_uri(job.results_uri, batch.id, claim.attempt), decoded.rows)
        finished = _retrying(
            lambda: worker.store.attempts.finish(
                batch.id,
                claim.attempt,
                decoded.rows,
                timings,
                **_made_with(decoder),
                peak_memory_bytes=memory,
                part=part,
                explained=explained,
            )
        )
    if not finished:
        raise FencedError
    _forget_parts(claim, worker, range(1, claim.attempt))
    _forget_payload(batch.id, worker)
    _tell(claim, worker, BatchState.DONE, rows_error=counts_of(decoded.rows.column("status"))[RowStatus.ERROR])
    return _outcome(claim, "done", rows=batch.rows, ms=round((time.perf_counter() - began) * 1000))


def _leave_to_another_child() -> None:
    """Ends this process, whose decoder hangs: Celery starts another, and worker/lost_processes.py frees the batch."""
    os._exit(1)


def _load(claim: Claim, worker: Context) -> Slice:
    """The batch's rows, at their place in the corpus.

    Raises PayloadMissingError, PayloadDamagedError, CorpusError, or what `ReferenceReader.read` does.
    """
    if reference := claim.batch.reference:
        part = worker.references.read(reference, claim.batch.rows, claim.job.embedding_dim)
        return replace(part, first_index=claim.batch.first_index)
    part = decode_payload(worker.payloads.get(claim.batch.id, claim.batch.sha256))
    if len(part) != claim.batch.rows:
        raise PayloadDamagedError(f"the payload of {claim.batch.id} has {len(part)} rows, not {claim.batch.rows}")
    return replace(part, first_index=claim.batch.first_index)


def _made_with(decoder: runtime.Decoder) -> dict[str, Any]:
    return {"device": decoder.device, "precision": decoder.precision, "engine": decoder.engine}


def _failed(claim: Claim, worker: Context, error: Exception, shown: tracing.Span) -> Outcome:
    code = error.code if isinstance(error, UnembedError) else _CODES.get(type(error), FailureCode.DECODE_FAILED)
    why = error.message if isinstance(error, UnembedError) else f"{type(error).__name__}: {error}"
    log.error("the attempt failed: %s", why, exc_info=error, extra={"error_code": code})
    shown.fail(f"{code}: {why}")
    shown.note(error_code=str(code))
    state = _retrying(
        lambda: worker.store.attempts.fail(claim.batch.id, claim.attempt, code, why, final=_is_final(error))
    )
    if state is not None:  # else it may have finished after all, and the answer was lost
        _forget_parts(claim, worker, [claim.attempt])
        _tell(claim, worker, state, error=why)
    if is_broken_device(error):
        worker.feed.flush()
        tracing.flush()
        _leave_to_another_child()
    return _outcome(claim, "fenced" if state is None else f"failed, now {state}", error=code)


_CODES: Final = {SoftTimeLimitExceeded: FailureCode.TIME_LIMIT, MemoryError: FailureCode.OUT_OF_MEMORY}


def _is_final(error: Exception) -> bool:
    """Whether another attempt would meet the same. What is wrong with this worker may be right with another."""
    if isinstance(error, FileMissingError):
        return False  # the file may be on another worker's machine
    return isinstance(error, (PayloadMissingError, PayloadDamagedError, CorpusError, DimensionError))


def _hand_back(claim: Claim, worker: Context) -> None:
    if not worker.store.attempts.release(claim.batch.id, claim.attempt):
        return
    try:
        worker.publish(claim.batch.id)
        worker.store.queue.mark_published([claim.batch.id])
    except UnavailableError as error:
        log.warning("batch %s waits for the sweeper to queue it again: %s", claim.batch.id, error)


def _forget_parts(claim: Claim, worker: Context, attempts: Iterable[int]) -> None:
    """What these attempts may have written: no row in SQL names it."""
    if (folder := claim.job.results_uri) is not None:
        worker.parts.delete(part_uri(folder, claim.batch.id, attempt) for attempt in attempts)


def _forget_payload(batch_id: str, worker: Context) -> None:
    try:
        worker.payloads.delete([batch_id])
    except UnavailableError as error:
        log.warning("the payload of batch %s stays until it expires: %s", batch_id, error)


def _introduce(worker: Context, decoder: runtime.Decoder) -> None:
    """Says once what this process decodes with; when the database is away, before the next batch."""
    facts = (decoder.device, decoder.precision, decoder.engine)
    if worker.introduced_as == [facts]:
        return
    try:
        worker.check_in(*facts, runtime.memory_of(decoder.device))
        worker.introduced_as[:] = [facts]
    except UnavailableError as error:
        log.warning("the worker could not say what it decodes with: %s", error)


def _tell(claim: Claim, worker: Context, state: BatchState, *, rows_error: int = 0, error: str | None = None) -> None:
    """Flower, how this attempt ended. Of one that is fenced, whoever took its batch has told."""
    worker.feed.ended(claim, worker.name, state, device=worker.device, rows_error=rows_error, error=error)


def _state_of(batch_id: str, worker: Context) -> BatchState | None:
    try:
        return worker.store.attempts.state_of(batch_id)
    except UnavailableError:
        return None  # it is for Flower alone


def _outcome(claim: Claim, outcome: str, **more: Any) -> Outcome:
    return {"batch": claim.batch.id, "attempt": claim.attempt, "outcome": outcome, **more}


def _retrying(do: Callable[[], T]) -> T:
    """Does it again for a while when the database is away: the work of a whole batch may hang on it."""
    for pause in _PATIENCE:
        try:
            return do()
        except UnavailableError as error:
            log.warning("trying again in %.1f s: %s", pause, error)
            time.sleep(pause)
    return do()
