"""A job may ask how its texts came about, and the batch of a single row keeps the answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    op.add_column("jobs", sa.Column("explains", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("batches", sa.Column("explained", sa.JSON()))


def downgrade() -> None:
    _do_not_wait_long()
    op.drop_column("batches", "explained")
    op.drop_column("jobs", "explains")
