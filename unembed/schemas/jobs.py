"""A job, as the server tells of it, and what it may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from unembed.decode_options import DecodeOptions
from unembed.html_tables import html_table
from unembed.schemas.progress import BatchCounts, RowCounts, Timings, Waiting
from unembed.schemas.states import JobState
from unembed.schemas.values import Priority, Reply


class DecoderInfo(Reply):
    """What a job may ask for; an item of GET /v1/decoders."""

    name: str
    embedding_dim: int
    architecture: str
    encoder: str | None = None  # the model whose embeddings it reads
    checkpoint: str | None = None  # of one that is asked for alone: a sha256 that changes when anything of it does


class Job(Reply):
    id: str
    state: JobState
    name: str | None = None
    decoder: str
    embedding_dim: int
    seed: int
    options: DecodeOptions
    results_uri: str | None = None  # the folder of its rows; without one they are in the database
    priority: Priority = Priority.NORMAL
    labels: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it
    rows: RowCounts
    batches: BatchCounts
    timings: Timings
    error: str | None = None
    created_at: datetime
    sealed_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    idempotency_key: str | None = None  # submitted again under this key, it is this job
    waiting: Waiting | None = None  # of a job that is looked at alone, and of which nothing runs though something waits

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.state} {self.rows.done}/{self.rows.total}>"

    def _repr_html_(self) -> str:
        return _table_of([self])


class JobPage(Reply):
    jobs: list[Job]
    next_cursor: str | None = None

    def __repr__(self) -> str:
        count = len(self.jobs)
        more = ", with more after it" if self.next_cursor else ""
        return f"<JobPage of {count} job{'' if count == 1 else 's'}{more}>"

    def _repr_html_(self) -> str:
        return _table_of(self.jobs, "There are more: next_cursor." if self.next_cursor else "")


def _table_of(jobs: Sequence[Job], below: str = "") -> str:
    """As a notebook shows them."""
    cells = [
        (job.id, job.state, f"{job.rows.done:,}/{job.rows.total:,}", job.rows.error, job.decoder, job.name, job.error)
        for job in jobs
    ]
    return html_table(("job", "state", "rows", "errors", "decoder", "name", "why"), cells, below)
