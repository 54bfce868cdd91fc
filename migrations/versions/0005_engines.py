"""Batches and workers say which engine decoded: torch, or the instructions that the native engine used.

Batches that are done do not know: NULL.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("batches", "workers")


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    for table in TABLES:
        op.add_column(table, sa.Column("engine", sa.String(16)))


def downgrade() -> None:
    _do_not_wait_long()
    for table in TABLES:
        op.drop_column(table, "engine")
