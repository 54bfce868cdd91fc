"""The request that brought a batch, as traces know it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    op.add_column("batches", sa.Column("traceparent", sa.String(55), nullable=True))


def downgrade() -> None:
    _do_not_wait_long()
    op.drop_column("batches", "traceparent")
