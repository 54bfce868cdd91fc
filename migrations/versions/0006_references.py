"""A batch may say where its vectors are, instead of having them in Redis: either, and never both.

Batches that are there have theirs in Redis: NULL.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

RULE = "(bytes > 0) = (reference IS NULL)"
NAME = "ck_batches_payload_or_reference"


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    if op.get_bind().dialect.name == "sqlite":
        # With its column, for it takes a constraint by itself only with a copy of the table and all that hangs on it.
        op.execute(f"ALTER TABLE batches ADD COLUMN reference JSON CONSTRAINT {NAME} CHECK ({RULE})")
        return
    op.add_column("batches", sa.Column("reference", sa.JSON()))
    op.create_check_constraint(op.f(NAME), "batches", RULE)


def downgrade() -> None:
    _do_not_wait_long()
    op.execute("DELETE FROM batches WHERE reference IS NOT NULL")  # nothing else could find their vectors
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f(NAME), "batches", type_="check")
    op.drop_column("batches", "reference")
