"""What was ever done is counted where it outlives its jobs; a batch knows when it was accepted, a worker its memory."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COUNTED = ("batches", "rows_ok", "rows_fallback", "rows_error", "rows_off_manifold")
BUCKETS = {"row": 11, "start": 12, "end": 12, "quality": 11}

# What is in the store by now. The histograms begin with what comes.
SO_FAR = """
    INSERT INTO totals (decoder, worker, outcome, code, batches, rows_ok, rows_fallback, rows_error)
    SELECT jobs.decoder, COALESCE(batches.worker, ''), batches.state,
           CASE WHEN batches.state = 'dead' THEN COALESCE(batches.error_code, '') ELSE '' END,
           COUNT(*), SUM(batches.rows_ok), SUM(batches.rows_fallback), SUM(batches.rows_error)
    FROM batches JOIN jobs ON jobs.id = batches.job_id
    WHERE batches.state IN ('done', 'dead')
    GROUP BY 1, 2, 3, 4
"""


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    buckets = [f"{histogram}_{number}" for histogram, count in BUCKETS.items() for number in range(count)]
    op.create_table(
        "totals",
        sa.Column("decoder", sa.String(200), nullable=False),
        sa.Column("worker", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0")) for name in COUNTED),
        *(sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0")) for name in buckets),
        *(sa.Column(f"{name}_sum", sa.Float(), nullable=False, server_default=sa.text("0")) for name in BUCKETS),
        sa.PrimaryKeyConstraint("decoder", "worker", "outcome", "code", name=op.f("pk_totals")),
    )
    op.create_table(
        "sweeps",
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("action", name=op.f("pk_sweeps")),
    )
    op.add_column("batches", sa.Column("accepted_at", sa.DateTime(timezone=True)))
    op.add_column("workers", sa.Column("memory_bytes", sa.BigInteger()))
    op.add_column("workers", sa.Column("peak_memory_bytes", sa.BigInteger()))
    op.execute(SO_FAR)


def downgrade() -> None:
    _do_not_wait_long()
    op.drop_column("workers", "peak_memory_bytes")
    op.drop_column("workers", "memory_bytes")
    op.drop_column("batches", "accepted_at")
    op.drop_table("sweeps")
    op.drop_table("totals")
