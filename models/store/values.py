"""What the store tells beside the values of the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import pyarrow as pa

from unembed.schemas import Batch, BatchState, CarriedKind, DecodeOptions, JobState, KeyRole, RowStatus


@dataclass(frozen=True, slots=True)
class JobHead:
    """What a job is, without what became of its batches: counting those takes the longer the more there are."""

    id: str
    state: JobState
    decoder: str
    embedding_dim: int
    seed: int
    options: DecodeOptions
    name: str | None = None
    results_uri: str | None = None  # the folder that its rows are to be written to
    explains: bool = False  # whether it is to be told how its texts came about
    carry: Mapping[str, CarriedKind] = field(default_factory=dict)  # the columns that it carries


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant: those that are all of this."""

    state: JobState | None = None
    decoder: str | None = None
    name: str | None = None  # is part of theirs, in upper or lower case
    labels: tuple[tuple[str, str | None], ...] = ()  # names with their values; None: any value
    clients: frozenset[str] | None = None  # whose they are; None: anybody's
    search: str | None = None  # is part of their name, or how their id begins


ALL_JOBS = JobFilter()


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch, held by one attempt for as long as its lease is renewed."""

    batch: Batch
    job: JobHead
    attempt: int  # the fence: whoever comes with another number than the row's is stale
    traceparent: str | None = None  # of the request that brought the batch


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last try at a batch, as its row keeps it, and what the batch is now."""

    batch_id: str
    number: int  # from 1
    rows: int
    job_name: str | None
    worker: str
    device: str | None
    state: BatchState
    error: str | None
    rows_error: int
    claimed_at: datetime
    ended_at: datetime | None  # None while it runs
    message: str | None  # the id of the message that it answers
    traceparent: str | None  # of the request that brought the batch


@dataclass(frozen=True, slots=True)
class ResultsPage:
    rows: pa.RecordBatch  # of unembed.generations.SCHEMA
    next_cursor: str | None  # None: nothing more now; more may come while the job runs


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of a search, and how far it has come."""

    rows: pa.RecordBatch
    next_cursor: str | None
    searched_to: int | None  # the index up to which rows were looked at; None: to the last one


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Rows without a text, for one reason."""

    code: str
    rows: int
    example: str | None  # the error of one of them, in words


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Of one client; None: no limit of its own."""

    rows: int | None = None  # queued or running
    bytes: int | None = None  # of those
    requests: int | None = None  # a minute, to one API process


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is known; nobody can tell it from this."""

    name: str
    role: KeyRole
    limits: ClientLimits
    created_at: datetime
    revoked_at: datetime | None = None

    @property
    def client(self) -> str:
        """Whose jobs it submits: its name's."""
        return f"key:{self.name}"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file without its content."""

    id: str
    client: str
    name: str
    nbytes: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class JobFile:
    """What a job was made of."""

    file_id: str
    endpoint: str
    given: Mapping[str, str]  # the client's own `metadata`


@dataclass(frozen=True, slots=True)
class DueWebhook:
    """What is to be told now."""

    job_id: str
    url: str
    secret: str = field(repr=False)
    event: str
    attempts: int  # with this one


@dataclass(frozen=True, slots=True)
class ResultsVersion:
    """While it is the same, so are a job's results."""

    state: JobState
    batches_done: int


class Beat(StrEnum):
    """What a heartbeat learns."""

    ALIVE = "alive"  # the lease is renewed; go on
    CANCELLED = "cancelled"  # the job was cancelled: stop, and call cancel_running
    FENCED = "fenced"  # another attempt has the batch, or it has ended: stop, and write nothing


@dataclass(frozen=True, slots=True)
class Swept:
    publish: list[str]  # the batches whose messages are to be sent (again); call mark_published afterwards
    expired: list[Attempt]  # their leases ran out

    @property
    def dead(self) -> int:
        """How many of the expired attempts were the last ones of their batches."""
        return sum(attempt.state is BatchState.DEAD for attempt in self.expired)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is queued or running: rows, and bytes of payload."""

    rows: int
    bytes: int
    client_rows: int  # of one client alone
    client_bytes: int


@dataclass(frozen=True, slots=True)
class Worker:
    name: str
    host: str
    pid: int
    device: str | None
    precision: str | None
    engine: str | None
    batches_done: int
    rows_done: int
    started_at: datetime
    last_seen: datetime
    last_done: datetime | None
    ended_with: str | None = None  # why it cannot work
    memory_bytes: int | None = None  # of its GPU
    peak_memory_bytes: int | None = None  # the most that tensors took there


@dataclass(frozen=True, slots=True)
class HeldBatch:
    """A batch that runs, and how far it is."""

    worker: str
    job_id: str
    job_name: str | None
    client: str  # whose job it is
    rows: int
    decoded: int  # of them
    attempt: int
    seconds: float  # since it was claimed


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a job, to show what its texts are like."""

    index: int
    text: str
    overall_quality: float | None
    off_manifold: bool | None = None


@dataclass(frozen=True, slots=True)
class QueueStats:
    queued_batches: int
    running_batches: int
    dead_batches: int
    queued_rows: int
    oldest_queued_seconds: float  # 0 when nothing waits
    jobs: Mapping[JobState, int]  # every state, those without a job too
    rows: Mapping[RowStatus, int]  # written, and still in the store


@dataclass(frozen=True, slots=True)
class Histogram:
    bounds: Sequence[float]  # of the buckets, from above; the last bucket has none
    counts: Sequence[int]  # in each bucket alone
    total: float  # the sum of what was observed


@dataclass(frozen=True, slots=True)
class Total:
    """What was ever done by a decoder, in all attempts that ended alike."""

    decoder: str
    outcome: str
    code: str  # of the error; empty without one
    batches: int
    rows: Mapping[RowStatus, int]
    rows_off_manifold: int
    histograms: Mapping[str, Histogram]  # by their names in `unembed.models.tables`


@dataclass(frozen=True, slots=True)
class WorkerTotal:
    """The same of one worker, without its histograms."""

    decoder: str
    worker: str
    outcome: str
    code: str
    batches: int
    rows: int
    decode_seconds: float


@dataclass(frozen=True, slots=True)
class Totals:
    ends: Sequence[Total]
    workers: Sequence[WorkerTotal]
    sweeps: Mapping[str, int]  # how often each action of a sweep was done
