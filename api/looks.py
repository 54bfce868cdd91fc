"""A job as it is shown, and a tag that says whether it looks the same."""

from __future__ import annotations

from typing import Any, Final

from unembed.api.conditional import tag_of
from unembed.api.deps import Deps
from unembed.schemas import Job

# Of what a job waits for, what moves by itself: it alone is no news.
_MOVES: Final[dict[str, Any]] = {"waiting": {"jobs_ahead": True, "rows_ahead": True, "seconds": True}}


def look(deps: Deps, job_id: str) -> tuple[Job, str]:
    """Raises NotFoundError."""
    job = deps.store.jobs.get(job_id)
    shown = job.model_copy(update={"waiting": deps.store.waits.of(job)})
    return shown, tag_of(shown.model_dump(exclude=_MOVES))
