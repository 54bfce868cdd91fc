"""A worker that cannot work says why, for those who wait for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    op.add_column("workers", sa.Column("ended_with", sa.Text()))


def downgrade() -> None:
    _do_not_wait_long()
    op.drop_column("workers", "ended_with")
