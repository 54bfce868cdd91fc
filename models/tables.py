"""The tables: api_keys, clients, files, jobs, job_files, webhooks, batches, generations, carried, workers, totals,
sweeps and compatibility.

The states are drawn in `unembed/schemas.py`; the named constraints below refuse the illegal ones. Times are UTC and
come from the database's clock (`unembed.models.clock.now`), never from a worker's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from unembed.schemas import BatchState, JobState, KeyRole, Priority, RowStatus


class UtcDateTime(TypeDecorator[datetime]):
    """A timestamp that is always aware and always UTC, on SQLite too, which knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(constraint_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )


def _one_of(column: str, states: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(state.value) for state in states)})"


class ApiKeyRow(Base):
    __tablename__ = "api_keys"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))  # a sha256 of its 256 random bits
    role: Mapped[str] = mapped_column(String(16))
    max_rows: Mapped[int | None] = mapped_column(BigInteger)
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_requests: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("digest", name="digest"),
        CheckConstraint(_one_of("role", KeyRole), name="role"),
    )


class ClientRow(Base):
    """Whoever has submitted: `key:` and the name of an API key, a digest of one of UNEMBED_API_KEYS, or empty."""

    __tablename__ = "clients"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    turn: Mapped[float] = mapped_column(Float)  # the lowest is next: see models/store/turns.py

    __table_args__ = (Index(None, "turn", "name"),)


class JobRow(Base):
    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    name: Mapped[str | None] = mapped_column(String(200))
    client: Mapped[str] = mapped_column(String(64), default="")  # a name in `clients`
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    fingerprint: Mapped[str | None] = mapped_column(String(128))
    decoder: Mapped[str] = mapped_column(String(200))
    embedding_dim: Mapped[int] = mapped_column(Integer)
    seed: Mapped[int] = mapped_column(BigInteger)
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    results_uri: Mapped[str | None] = mapped_column(Text)  # the folder of the batches' parts
    priority: Mapped[str] = mapped_column(String(8), server_default=Priority.NORMAL)
    labels: Mapped[dict[str, str]] = mapped_column(JSON, default=dict, server_default="{}")
    carry: Mapped[dict[str, str]] = mapped_column(JSON, default=dict, server_default="{}")  # columns, and their kinds
    explains: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())  # how its texts came about
    turn: Mapped[float | None] = mapped_column(Float)  # among its client's jobs the lowest is next; NULL: it has ended
    batches_done: Mapped[int] = mapped_column(Integer, default=0)  # numbers the batches in the order they finished
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sealed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("client", "idempotency_key", name="idempotency"),
        CheckConstraint(_one_of("state", JobState), name="state"),
        CheckConstraint(_one_of("priority", Priority), name="priority"),
        CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('succeeded', 'partial', 'failed', 'cancelled'))",
            name="ended_has_finished_at",
        ),
        CheckConstraint(
            "sealed_at IS NOT NULL OR state IN ('receiving', 'cancelling', 'cancelled', 'failed')",
            name="unsealed_only_receiving",
        ),
        Index(None, "created_at", "id"),
        Index(None, "state", "created_at", "id"),
        Index(None, "finished_at"),
        Index(None, "client", "turn", "id"),  # whose batch is next
    )


class FileRow(Base):
    """A file of lines that a client of OpenAI's API has uploaded."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    client: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    nbytes: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class JobFileRow(Base):
    """The file that a job was made of; it may be gone."""

    __tablename__ = "job_files"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    file_id: Mapped[str] = mapped_column(String(40))
    endpoint: Mapped[str] = mapped_column(String(100))
    given: Mapped[dict[str, str]] = mapped_column(JSON)  # the client's own `metadata`


class WebhookRow(Base):
    """Where the end of a job is told; `next_at` is when, and NULL when there is nothing to tell."""

    __tablename__ = "webhooks"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(Text)  # as it is: to sign takes the secret itself
    event: Mapped[str | None] = mapped_column(String(48))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "next_at"),)


class BatchRow(Base):
    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(String(48), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    ordinal: Mapped[int] = mapped_column(Integer)
    first_index: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[int] = mapped_column(BigInteger)  # of its payload in Redis; none where it has a reference
    sha256: Mapped[str] = mapped_column(String(64))  # of its payload, or of its reference
    reference: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # where its vectors are
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)  # back-off: no claim sooner
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # its message was last sent then
    message: Mapped[str | None] = mapped_column(String(64))  # what its last attempt answers; Flower's UUID of the task
    traceparent: Mapped[str | None] = mapped_column(String(55))  # W3C's, of the request that brought it
    done_ordinal: Mapped[int | None] = mapped_column(Integer)  # 1-based: the n-th of its job to finish
    worker: Mapped[str | None] = mapped_column(String(200))
    device: Mapped[str | None] = mapped_column(String(200))
    precision: Mapped[str | None] = mapped_column(String(16))
    engine: Mapped[str | None] = mapped_column(String(16))
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None] = mapped_column(Text)
    rows_ok: Mapped[int] = mapped_column(Integer, default=0)
    rows_fallback: Mapped[int] = mapped_column(Integer, default=0)
    rows_error: Mapped[int] = mapped_column(Integer, default=0)
    rows_unwritten: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))  # decoded so far
    waited_ms: Mapped[float] = mapped_column(Float, default=0.0)
    load_ms: Mapped[float] = mapped_column(Float, default=0.0)
    decode_ms: Mapped[float] = mapped_column(Float, default=0.0)
    score_ms: Mapped[float] = mapped_column(Float, default=0.0)
    write_ms: Mapped[float] = mapped_column(Float, default=0.0)
    part: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # the file that has its rows
    quality: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))  # `spread_of` its rows, once it is done
    explained: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # of a job that explains
    accepted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # NULL: by a version that did not note it
    queued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    claimed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("job_id", "ordinal", name="ordinal"),
        UniqueConstraint("job_id", "first_index", name="first_index"),
        UniqueConstraint("job_id", "done_ordinal", name="done_ordinal"),
        CheckConstraint(_one_of("state", BatchState), name="state"),
        CheckConstraint("rows > 0", name="has_rows"),
        CheckConstraint("(bytes > 0) = (reference IS NULL)", name="payload_or_reference"),
        CheckConstraint("part IS NULL OR state = 'done'", name="part_is_done"),
        CheckConstraint("attempt BETWEEN 0 AND max_attempts", name="attempts"),
        CheckConstraint("(lease_until IS NOT NULL) = (state = 'running')", name="running_has_lease"),
        CheckConstraint("(finished_at IS NOT NULL) = (state IN ('done', 'dead', 'cancelled'))", name="ended"),
        CheckConstraint("(done_ordinal IS NOT NULL) = (state = 'done')", name="done_has_ordinal"),
        CheckConstraint("state <> 'done' OR rows_ok + rows_fallback + rows_error = rows", name="done_is_whole"),
        CheckConstraint("state <> 'dead' OR rows_error = rows", name="dead_is_error"),
        CheckConstraint(
            "rows_unwritten BETWEEN 0 AND rows AND (rows_unwritten = 0 OR state = 'running')",
            name="unwritten_while_running",
        ),
        Index(None, "state", "queued_at"),
        Index(None, "worker", "claimed_at"),  # what a worker took of late
        Index(None, "job_id", "state", "ordinal"),  # whether a job goes on, and with which batch
        Index(None, "state", "published_at"),
    )


class GenerationRow(Base):
    __tablename__ = "generations"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"))
    id: Mapped[str | None] = mapped_column(Text)  # the client's own
    text: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str | None] = mapped_column(String(200))
    tokens: Mapped[int | None] = mapped_column(Integer)
    overall_quality: Mapped[float | None] = mapped_column(Float)
    fluency: Mapped[float | None] = mapped_column(Float)
    coherence: Mapped[float | None] = mapped_column(Float)
    diversity: Mapped[float | None] = mapped_column(Float)
    round_trip: Mapped[float | None] = mapped_column(Float)
    off_manifold: Mapped[bool | None] = mapped_column(Boolean)
    decode_ms: Mapped[float | None] = mapped_column(Float)

    __table_args__ = (
        CheckConstraint(_one_of("status", RowStatus), name="status"),
        CheckConstraint("(status = 'error') = (text IS NULL)", name="text_unless_error"),
        CheckConstraint("(status = 'error') = (error_code IS NOT NULL)", name="code_if_error"),
        Index(None, "batch_id", "overall_quality", "index"),  # the best and the worst, in models/store/samples.py
    )


class CarriedRow(Base):
    """What a job carries beside some hundred rows of a batch: read with them, and gone with them."""

    __tablename__ = "carried"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    first_index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id", ondelete="CASCADE"), index=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)  # an Arrow stream, packed


class WorkerRow(Base):
    """A worker's liveness is what it did: `last_seen` moves with its heartbeat, `last_done` with a finished batch."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int] = mapped_column(Integer)
    device: Mapped[str | None] = mapped_column(String(200))
    precision: Mapped[str | None] = mapped_column(String(16))
    engine: Mapped[str | None] = mapped_column(String(16))
    batches_done: Mapped[int] = mapped_column(BigInteger, default=0)
    rows_done: Mapped[int] = mapped_column(BigInteger, default=0)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen: Mapped[datetime] = mapped_column(UtcDateTime)
    last_done: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_with: Mapped[str | None] = mapped_column(Text)  # why it cannot work, if it said so and ended
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of its GPU
    peak_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)  # the most that tensors took there


# The upper bounds of the histograms' buckets; one more has what is above the last. To change one takes a migration.
ROW_SECONDS: Final = (0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
BATCH_SECONDS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
QUALITY: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
HISTOGRAMS: Final = {
    "row": ROW_SECONDS,  # seconds of decoding a row
    "start": BATCH_SECONDS,  # seconds from a batch's acceptance to the start of the attempt that finished it
    "end": BATCH_SECONDS,  # seconds from its acceptance to its end
    "quality": QUALITY,  # overall_quality of a row
}


def buckets_of(histogram: str) -> list[str]:
    """The names of its columns, each with what is in this bucket alone."""
    return [f"{histogram}_{number}" for number in range(len(HISTOGRAMS[histogram]) + 1)]


COUNTED: Final = ("batches", "rows_ok", "rows_fallback", "rows_error", "rows_off_manifold")
BUCKETS: Final = tuple(column for histogram in HISTOGRAMS for column in buckets_of(histogram))
SUMMED: Final = tuple(f"{histogram}_sum" for histogram in HISTOGRAMS)

# What was ever done: it outlives the jobs and the workers. A worker adds to rows of its own, so that no two wait for
# each other; `worker` is empty where none had the batch, and for those that are long gone.
TOTALS: Final = Table(
    "totals",
    Base.metadata,
    *(
        Column(name, String(length), primary_key=True)
        for name, length in (("decoder", 200), ("worker", 200), ("outcome", 16), ("code", 64))
    ),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in (*COUNTED, *BUCKETS)),
    *(Column(name, Float, nullable=False, server_default=text("0")) for name in SUMMED),
)


class SweepRow(Base):
    """What the sweepers have ever done."""

    __tablename__ = "sweeps"

    action: Mapped[str] = mapped_column(String(32), primary_key=True)
    times: Mapped[int] = mapped_column(BigInteger)


class CompatibilityRow(Base):
    """The one row of it: the oldest revision whose code can use the tables as they are now (migration 0018)."""

    __tablename__ = "compatibility"

    oldest_revision: Mapped[str] = mapped_column(String(32), primary_key=True)
