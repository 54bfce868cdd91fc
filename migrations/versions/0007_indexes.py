"""Indexes for what would otherwise read more, the more is stored: `ls --state`, old jobs, what a worker took lately."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ADDED = (
    ("jobs", ("state", "created_at", "id")),
    ("jobs", ("finished_at",)),
    ("batches", ("worker", "claimed_at")),
)


def _name(table: str, columns: tuple[str, ...]) -> str:
    return f"ix_{table}_{'_'.join(columns)}"


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    for table, columns in ADDED:
        op.create_index(op.f(_name(table, columns)), table, list(columns))
    op.drop_index(op.f("ix_jobs_state"), "jobs")  # the first of the new ones serves what it served


def downgrade() -> None:
    _do_not_wait_long()
    op.create_index(op.f("ix_jobs_state"), "jobs", ["state"])
    for table, columns in ADDED:
        op.drop_index(op.f(_name(table, columns)), table)
