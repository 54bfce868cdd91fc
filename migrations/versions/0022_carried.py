"""A job may carry columns, which are kept beside its rows, some hundred rows together."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    op.add_column("jobs", sa.Column("carry", sa.JSON(), nullable=False, server_default="{}"))
    op.create_table(
        "carried",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("first_index", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.String(48), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_carried_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_carried_batch_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "first_index", name=op.f("pk_carried")),
    )
    op.create_index(op.f("ix_carried_batch_id"), "carried", ["batch_id"])


def downgrade() -> None:
    _do_not_wait_long()
    op.drop_table("carried")
    op.drop_column("jobs", "carry")
