"""How far batches are, and how those fare that wait."""

from __future__ import annotations

from datetime import datetime

from unembed.codes import FailureCode
from unembed.references import BatchReference, ResultsPart
from unembed.schemas.states import BatchState
from unembed.schemas.values import Reply


class RowCounts(Reply):
    total: int = 0
    ok: int = 0
    fallback: int = 0
    error: int = 0  # those of dead batches, too
    unwritten: int = 0  # decoded by batches that run; they can be read once their batch is done

    @property
    def written(self) -> int:
        return self.ok + self.fallback + self.error

    @property
    def done(self) -> int:
        """How far it is: written, or decoded at least."""
        return self.written + self.unwritten


class BatchCounts(Reply):
    queued: int = 0
    running: int = 0
    done: int = 0
    dead: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.queued + self.running + self.done + self.dead + self.cancelled


class Timings(Reply):
    """Where the time of a batch, or of a job's done batches together, went; milliseconds."""

    waited_ms: float = 0.0  # from queued to claimed
    load_ms: float = 0.0  # decoder loaded, payload fetched and checked
    decode_ms: float = 0.0
    score_ms: float = 0.0
    write_ms: float = 0.0


def batch_id_of(job_id: str, ordinal: int) -> str:
    return f"{job_id}-{ordinal}"


def job_id_of(batch_id: str) -> str:
    """The id of the job that this batch belongs to."""
    return batch_id.rpartition("-")[0]


class Batch(Reply):
    id: str  # as `batch_id_of` makes it
    job_id: str
    ordinal: int  # 0-based place among the job's batches
    first_index: int  # the index in the corpus of its first row
    rows: int
    state: BatchState
    attempt: int  # how often it was claimed
    max_attempts: int
    sha256: str  # of its payload, or of its reference
    reference: BatchReference | None = None  # where workers find its vectors; without one they are sent
    part: ResultsPart | None = None  # the file with its rows, when it is done and its job has a `results_uri`
    worker: str | None = None
    device: str | None = None
    precision: str | None = None  # of its matrix products: float32, bfloat16 or float16
    engine: str | None = None  # torch, or the instructions that the native engine used: avx2, for example
    peak_memory_bytes: int | None = None
    error_code: str | None = None
    error: str | None = None
    counts: RowCounts = RowCounts()
    timings: Timings = Timings()
    queued_at: datetime
    claimed_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def lacks_its_vectors(self) -> bool:
        """It is dead for want of them: sent again, it is queued again."""
        return self.state is BatchState.DEAD and self.error_code in (
            FailureCode.PAYLOAD_MISSING,
            FailureCode.PAYLOAD_DAMAGED,
        )


class AttemptFailed(Reply):
    """The last attempt at a batch, which waits for the next one."""

    batch: str  # its id
    attempt: int
    max_attempts: int
    worker: str | None = None
    error_code: str
    error: str
    next_in: float  # seconds until the next attempt may begin


class Waiting(Reply):
    """Why nothing of a job runs now."""

    jobs_ahead: int  # other jobs that wait or run, and share the workers with it
    rows_ahead: int  # of those, as many as are decoded before it is done
    seconds: float | None = None  # until it is done, at the pace of the last minutes; null: nothing was decoded of late
    workers: int  # that were seen of late
    last_worker: str | None = None  # where there is none: the last one, and what it ended with
    failed: AttemptFailed | None = None


class BatchPage(Reply):
    batches: list[Batch]
    next_cursor: str | None = None
