"""What may be done with a job once some of it is dead, or all of it has ended: try it again, or take it away."""

from __future__ import annotations

import logging

from unembed.api.deps import Deps
from unembed.api.uploads import announce
from unembed.errors import ConflictError, UnavailableError
from unembed.schemas import Job

log = logging.getLogger(__name__)


def retry(deps: Deps, job_id: str) -> Job:
    """Queue the dead batches again, as far as their vectors are there. Raises ConflictError when none can be."""
    dead = deps.store.jobs.dead_batches(job_id)
    there = set(deps.payloads.present([batch.id for batch in dead if batch.reference is None]))
    there |= {batch.id for batch in dead if batch.reference is not None}  # if the file is back, too
    if dead and not there:
        raise ConflictError(
            f"the vectors of the {len(dead)} dead batches of job {job_id} are gone from Redis: send the corpus again "
            "under the idempotency key that it had"
        )
    job = deps.store.requeue.retry(job_id, there)
    announce(deps, *(batch for batch in dead if batch.id in there))
    return job


def remove(deps: Deps, job_id: str) -> None:
    """Raises NotFoundError, and ConflictError while the job has not ended."""
    parts = deps.store.jobs.parts(job_id)
    removed = deps.store.jobs.remove(job_id)
    deps.parts.delete(parts)
    try:
        deps.payloads.delete(removed)
    except UnavailableError as error:
        log.warning("the payloads of job %s stay until they expire: %s", job_id, error)
