"""The four tables: jobs, batches, generations, workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("name", sa.String(200)),
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(200)),
        sa.Column("fingerprint", sa.String(128)),
        sa.Column("decoder", sa.String(200), nullable=False),
        sa.Column("embedding_dim", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("batches_done", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True)),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('succeeded', 'partial', 'failed', 'cancelled'))",
            name=op.f("ck_jobs_ended_has_finished_at"),
        ),
        sa.CheckConstraint(
            "sealed_at IS NOT NULL OR state IN ('receiving', 'cancelling', 'cancelled', 'failed')",
            name=op.f("ck_jobs_unsealed_only_receiving"),
        ),
        sa.CheckConstraint(
            "state IN ('receiving', 'queued', 'running', 'cancelling', 'succeeded', 'partial', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("client", "idempotency_key", name=op.f("uq_jobs_idempotency")),
    )
    op.create_index(op.f("ix_jobs_created_at_id"), "jobs", ["created_at", "id"])
    op.create_index(op.f("ix_jobs_state"), "jobs", ["state"])

    op.create_table(
        "workers",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("host", sa.String(200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(200)),
        sa.Column("dtype", sa.String(16)),
        sa.Column("batches_done", sa.BigInteger(), nullable=False),
        sa.Column("rows_done", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_done", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.String(48), nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("first_index", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("not_before", sa.DateTime(timezone=True)),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.Column("done_ordinal", sa.Integer()),
        sa.Column("worker", sa.String(200)),
        sa.Column("device", sa.String(200)),
        sa.Column("peak_memory_bytes", sa.BigInteger()),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error", sa.Text()),
        sa.Column("rows_ok", sa.Integer(), nullable=False),
        sa.Column("rows_fallback", sa.Integer(), nullable=False),
        sa.Column("rows_error", sa.Integer(), nullable=False),
        sa.Column("waited_ms", sa.Float(), nullable=False),
        sa.Column("load_ms", sa.Float(), nullable=False),
        sa.Column("decode_ms", sa.Float(), nullable=False),
        sa.Column("score_ms", sa.Float(), nullable=False),
        sa.Column("write_ms", sa.Float(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("(done_ordinal IS NOT NULL) = (state = 'done')", name=op.f("ck_batches_done_has_ordinal")),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('done', 'dead', 'cancelled'))", name=op.f("ck_batches_ended")
        ),
        sa.CheckConstraint(
            "(lease_until IS NOT NULL) = (state = 'running')", name=op.f("ck_batches_running_has_lease")
        ),
        sa.CheckConstraint(
            "state <> 'done' OR rows_ok + rows_fallback + rows_error = rows", name=op.f("ck_batches_done_is_whole")
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'dead', 'cancelled')", name=op.f("ck_batches_state")
        ),
        sa.CheckConstraint("attempt BETWEEN 0 AND max_attempts", name=op.f("ck_batches_attempts")),
        sa.CheckConstraint("rows > 0", name=op.f("ck_batches_has_rows")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_batches_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("job_id", "done_ordinal", name=op.f("uq_batches_done_ordinal")),
        sa.UniqueConstraint("job_id", "first_index", name=op.f("uq_batches_first_index")),
        sa.UniqueConstraint("job_id", "ordinal", name=op.f("uq_batches_ordinal")),
    )
    op.create_index(op.f("ix_batches_state_queued_at"), "batches", ["state", "queued_at"])

    op.create_table(
        "generations",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batch_id", sa.String(48), nullable=False),
        sa.Column("id", sa.Text()),
        sa.Column("text", sa.Text()),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error", sa.Text()),
        sa.Column("source", sa.String(200)),
        sa.Column("tokens", sa.Integer()),
        sa.Column("overall_quality", sa.Float()),
        sa.Column("fluency", sa.Float()),
        sa.Column("coherence", sa.Float()),
        sa.Column("diversity", sa.Float()),
        sa.Column("round_trip", sa.Float()),
        sa.Column("decode_ms", sa.Float()),
        sa.CheckConstraint("(status = 'error') = (error_code IS NOT NULL)", name=op.f("ck_generations_code_if_error")),
        sa.CheckConstraint("(status = 'error') = (text IS NULL)", name=op.f("ck_generations_text_unless_error")),
        sa.CheckConstraint("status IN ('ok', 'fallback', 'error')", name=op.f("ck_generations_status")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_generations_batch_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_generations_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "index", name=op.f("pk_generations")),
    )
    op.create_index(op.f("ix_generations_batch_id"), "generations", ["batch_id"])


def downgrade() -> None:
    _do_not_wait_long()
    for table in ("generations", "batches", "workers", "jobs"):
        op.drop_table(table)
