"""Batches say in which precision they were decoded, and what workers called `dtype` has that name too.

Batches that are done do not know: NULL.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    op.add_column("batches", sa.Column("precision", sa.String(16)))
    op.execute("ALTER TABLE workers RENAME COLUMN dtype TO precision")  # both databases know it; no table is copied


def downgrade() -> None:
    _do_not_wait_long()
    op.execute("ALTER TABLE workers RENAME COLUMN precision TO dtype")
    op.drop_column("batches", "precision")
