"""An index for the question that follows every batch: whether its job has others that wait or run."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INDEX = "ix_batches_job_id_state"


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    op.create_index(op.f(INDEX), "batches", ["job_id", "state"])


def downgrade() -> None:
    _do_not_wait_long()
    op.drop_index(op.f(INDEX), "batches")
