"""The wire and the states: what every room calls things.

    batch   queued ──claim──▶ running ──finish──▶ done
              ▲                 │  │
              │   lease expired │  └── failed, attempts used up ──▶ dead       (kept with its last error)
              ├─────────────────┘                                   │
              └── retry, or its lost vectors are sent again ────────┘
            queued or running ── job cancelled ──▶ cancelled                   (what is done stays done)
            queued ── its vectors are no longer in Redis ──▶ dead              (payload_missing)
            running ── the file it refers to has changed ──▶ dead              (file_changed)

    job     receiving ──sealed──▶ queued ──first claim──▶ running ──▶ succeeded | partial | failed
                partial | failed ── a dead batch is queued again ──▶ running
                any that is not ended ── cancel ──▶ cancelling ── running batches have stopped ──▶ cancelled
                receiving, and nothing came for long ── as if by cancel, and says so ──▶ cancelled
                ended ── removed ──▶ gone, with its batches and rows

    row     ok | fallback (another source answered, and says so) | error (code, message)     never silently absent

A batch may be claimed while its job is still receiving: the job then goes from receiving to running when it is sealed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer

from unembed.codes import FailureCode
from unembed.decode_options import GREEDY as GREEDY
from unembed.decode_options import DecodeOptions as DecodeOptions
from unembed.decode_options import Ranking as Ranking
from unembed.decode_options import Scoring as Scoring
from unembed.html_tables import html_table
from unembed.references import BatchReference as BatchReference
from unembed.references import ResultsPart as ResultsPart
from unembed.webhooks import Webhook as Webhook
from unembed.webhooks import WebhookState as WebhookState

ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
RAW_BYTES: Final = "application/octet-stream"
JSON_LINES: Final = "application/jsonl"
PARQUET: Final = "application/vnd.apache.parquet"
ARROW_FILE: Final = "application/vnd.apache.arrow.file"
CSV: Final = "text/csv"
EVENT_STREAM: Final = "text/event-stream"
PROBLEM_JSON: Final = "application/problem+json"

DEFAULT_DECODER: Final = "ret-v21-minilm"
DEFAULT_BATCH_SIZE: Final = 1024

_SHOWN: Final = 60  # characters of a text, where a row is told in a line
_NO_NUL: Final = r"^[^\x00]*$"  # PostgreSQL has no place for the character NUL in a text


class JobState(StrEnum):
    RECEIVING = "receiving"  # batches may still be added
    QUEUED = "queued"  # sealed; no batch was claimed yet
    RUNNING = "running"  # sealed; at least one batch was claimed
    CANCELLING = "cancelling"  # no batch starts any more; running ones are stopping
    SUCCEEDED = "succeeded"  # every row has a text
    PARTIAL = "partial"  # some rows have a text, some are errors or were never decoded
    FAILED = "failed"  # no row has a text
    CANCELLED = "cancelled"  # ended by request, or because it was never sealed; what was done stays

    @property
    def is_ended(self) -> bool:
        return self in ENDED_JOB_STATES


ENDED_JOB_STATES: Final = frozenset({JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED})


class BatchState(StrEnum):
    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # an attempt holds the lease
    DONE = "done"  # its rows are written
    DEAD = "dead"  # its attempts are used up
    CANCELLED = "cancelled"  # its job was cancelled before it was done

    @property
    def is_ended(self) -> bool:
        return self in (BatchState.DONE, BatchState.DEAD, BatchState.CANCELLED)


class RowStatus(StrEnum):
    OK = "ok"  # decoded
    FALLBACK = "fallback"  # another source answered; `source` names it
    ERROR = "error"  # no text; `error_code` and `error` say why


class Priority(StrEnum):
    """How large a job's share of the workers is, while others wait too."""

    HIGH = "high"  # eight rows for each row of a normal job
    NORMAL = "normal"
    LOW = "low"  # one row for eight of a normal job


class KeyRole(StrEnum):
    """What an API key may do; each may do what those before it may."""

    READER = "reader"  # look at its own jobs, and at decoders and metrics
    SUBMITTER = "submitter"  # submit, cancel, retry and remove its own jobs
    ADMIN = "admin"  # all of this with everybody's jobs


class Wire(BaseModel):
    """A frozen value that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Reply(BaseModel):
    """What a server says, frozen. One that is newer may say more: what is not known here is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


# Of the matrix products; norms, residuals and logits are always float32. auto: what the device computes fastest.
Precision = Literal["auto", "float32", "bfloat16", "float16"]
EngineChoice = Literal["auto", "native", "torch"]


MAX_LABELS: Final = 32
_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?"
LABEL_FILTER: Final = rf"^{_LABEL}(=[^\x00]*)?$"
Labels = Annotated[
    dict[
        Annotated[str, Field(pattern=f"^{_LABEL}$")],
        Annotated[str, Field(max_length=200, pattern=_NO_NUL)],
    ],
    Field(max_length=MAX_LABELS, description="Names and values to find the job by"),
]


class CarriedKind(StrEnum):
    """What a carried column holds."""

    STRING = "string"
    INTEGER = "integer"  # of 64 bits
    NUMBER = "number"
    BOOLEAN = "boolean"


MAX_CARRIED: Final = 16  # columns of a job
MAX_CARRIED_BYTES: Final = 4096  # of a row: its texts as UTF-8, and eight for any other value
Carry = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=200, pattern=_NO_NUL)], CarriedKind],
    Field(
        max_length=MAX_CARRIED,
        description="Columns that come with each batch and go back with each row: their names, and what each holds",
    ),
]


_ALWAYS_SAID: Final = frozenset({"decoder", "embedding_dim", "seed"})  # whatever a server's own defaults are


class JobCreate(Wire):
    """The body of POST /v1/jobs."""

    decoder: Annotated[
        str, Field(min_length=1, max_length=200, pattern=_NO_NUL, description="The name of the decoder")
    ] = DEFAULT_DECODER
    embedding_dim: Annotated[int, Field(ge=1, le=65_536, description="How many values each vector has")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="The same seed gives the same texts")] = 0
    options: DecodeOptions = DecodeOptions()
    name: Annotated[
        str | None,
        Field(max_length=200, pattern=_NO_NUL, description="A name for people to read; it need not be unique"),
    ] = None
    fingerprint: Annotated[
        str | None,
        Field(
            max_length=128,
            pattern=_NO_NUL,
            description="A hash of the corpus: an idempotency key is not accepted for another corpus",
        ),
    ] = None
    results_uri: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=2000,
            pattern=_NO_NUL,
            description="A folder under `UNEMBED_RESULTS_ROOTS`: workers write the rows there, a parquet file a batch, "
            "and not into the database",
        ),
    ] = None
    priority: Annotated[
        Priority, Field(description="The job's share while others wait: high is eight times normal, low an eighth")
    ] = Priority.NORMAL
    labels: Labels = {}
    webhook: Annotated[Webhook | None, Field(description="Where its end is told")] = None
    carry: Carry = {}

    @model_serializer(mode="wrap")
    def _what_was_asked_for(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what was left as it is: a server of an older version refuses fields that it does not know."""
        fields = type(self).model_fields
        said = {
            name: value
            for name, value in whole(self).items()
            if name in _ALWAYS_SAID or getattr(self, name) != fields[name].default
        }
        return said | {"options": self.options.model_dump(mode="json", exclude_unset=True)}


class JobSeal(Wire):
    """The body of POST /v1/jobs/{job_id}/seal: what the client believes it has sent."""

    batches: Annotated[int, Field(ge=1, description="How many batches were sent")]
    rows: Annotated[int, Field(ge=1, description="How many rows they have together")]


class DecoderInfo(Reply):
    """What a job may ask for; an item of GET /v1/decoders."""

    name: str
    embedding_dim: int
    architecture: str
    encoder: str | None = None  # the model whose embeddings it reads
    checkpoint: str | None = None  # of one that is asked for alone: a sha256 that changes when anything of it does


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
    labels: dict[str, str] = {}
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


class BatchPage(Reply):
    batches: list[Batch]
    next_cursor: str | None = None


# OpenAPI's formats of integers; they decide the columns' widths.
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]
Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]


class Generation(Reply):
    """One decoded row; the same field names in SQL, JSON, parquet and CSV."""

    index: Annotated[Int64, Field(description="The row's place in the corpus, from 0")]
    id: Annotated[str | None, Field(description="The client's own id for the row")] = None
    text: Annotated[str | None, Field(description="What the embedding was decoded into; null in an error row")] = None
    status: Annotated[RowStatus, Field(description="ok, fallback (another source answered), or error (no text)")]
    error_code: Annotated[str | None, Field(description="Why there is no text, for programs")] = None
    error: Annotated[str | None, Field(description="Why there is no text, for people")] = None
    source: Annotated[str | None, Field(description="The decoder that wrote the text")] = None
    tokens: Annotated[Int32 | None, Field(description="How many pieces the text was generated from")] = None
    overall_quality: Annotated[
        float | None, Field(description="How likely the text is to be faithful, as the decoder estimates it, 0 to 1")
    ] = None
    fluency: Annotated[float | None, Field(description="How natural the text is as language, 0 to 1")] = None
    coherence: Annotated[
        float | None, Field(description="How much of the text is about this embedding, not language at large, 0 to 1")
    ] = None
    diversity: Annotated[float | None, Field(description="How little the text repeats itself, 0 to 1")] = None
    round_trip: Annotated[float | None, Field(description="The cosine of the text's embedding and the given one")] = (
        None
    )
    off_manifold: Annotated[
        bool | None, Field(description="The embedding is unlike that of any text; null when the decoder cannot tell")
    ] = None
    decode_ms: Annotated[float | None, Field(description="The row's share of its micro-batch's milliseconds")] = None
    _carried: dict[str, Any] = PrivateAttr(default_factory=dict)  # no field: it is no column of every job's rows

    @property
    def carried(self) -> Mapping[str, Any]:
        """The columns that the job carries, by name; empty where it carries none."""
        return self._carried

    def __repr__(self) -> str:
        said = self.error if self.text is None else self.text
        return f"<Generation {self.index} {self.status} {(said or '')[:_SHOWN]!r}>"


GENERATION_FIELDS: Final = tuple(Generation.model_fields)

ResultsFormat = Literal["jsonl", "csv", "parquet", "arrow"]
Order = Literal["finished", "index"]  # of results: as batches finish, or as in the corpus
CARRIED: Final = "carried"  # the preference of who reads rows with the columns that the job carries
NEXT_CURSOR: Final = "Unembed-Next-Cursor"  # the header of a page of results that says where the next one begins


class Problem(BaseModel):
    """RFC 9457, with the error's `code` and the request's id as extension members."""

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    code: str = "unembed"
    request_id: str | None = None  # as in the header X-Request-ID, and in the log of the server
