"""A job may keep its rows in files, a parquet part a batch, instead of in the table `generations`.

Jobs that are there keep theirs in the table: NULL.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

RULE = "part IS NULL OR state = 'done'"
NAME = "ck_batches_part_is_done"


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    op.add_column("jobs", sa.Column("results_uri", sa.Text()))
    if op.get_bind().dialect.name == "sqlite":
        # With its column, for it takes a constraint by itself only with a copy of the table and all that hangs on it.
        op.execute(f"ALTER TABLE batches ADD COLUMN part JSON CONSTRAINT {NAME} CHECK ({RULE})")
        return
    op.add_column("batches", sa.Column("part", sa.JSON()))
    op.create_check_constraint(op.f(NAME), "batches", RULE)


def downgrade() -> None:
    _do_not_wait_long()
    op.execute("DELETE FROM jobs WHERE results_uri IS NOT NULL")  # nothing else could find their rows; the files stay
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f(NAME), "batches", type_="check")
    op.drop_column("batches", "part")
    op.drop_column("jobs", "results_uri")
