"""The spans of an attempt: in the trace of the request that brought its batch, which the batch's row names.

    request ─▶ store batch ┬▶ queue wait        from when it was queued last until its claim
                           └▶ attempt ┬▶ claim, read payload, decode, write results
                                      └▶ job end, if it was the last of its job

A message may be lost, or be answered with another batch, so none carries it:
docs/decisions/0027-logs-and-traces.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from unembed import tracing
from unembed.models.store import Attempt, Claim


@contextmanager
def attempt_span(claim: Claim, worker: str, began: float) -> Iterator[tracing.Span]:
    """For as long as the attempt lasts; `began`: when the worker began to look for a batch, by its own clock."""
    batch, job = claim.batch, claim.job
    ours: dict[str, Any] = {
        "job": job.id,
        "batch": batch.id,
        "attempt": claim.attempt,
        "rows": batch.rows,
        "worker": worker,
    }
    if claim.traceparent is not None:
        # As long as the database says that it waited, until the claim as this machine's clock has it.
        waited = batch.timings.waited_ms / 1000
        tracing.record("queue wait", time.time() - waited, parent=claim.traceparent, **ours)
    with tracing.span("attempt", kind="CONSUMER", parent=claim.traceparent, began=began, **ours) as shown:
        tracing.record("claim", began)
        yield shown


def lost(attempts: Iterable[Attempt]) -> None:
    """Attempts that ended with their processes, which cannot say so any more."""
    for attempt in attempts:
        if attempt.traceparent is not None:
            tracing.record(
                "attempt",
                attempt.claimed_at.timestamp(),
                parent=attempt.traceparent,
                error=attempt.error or "its process died",
                batch=attempt.batch_id,
                attempt=attempt.number,
                worker=attempt.worker,
            )
