"""Whether a row's vector is unlike any of a text. Rows that are there do not know: NULL."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMN = "off_manifold"


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    op.add_column("generations", sa.Column(COLUMN, sa.Boolean()))  # nullable: no row is written again


def downgrade() -> None:
    _do_not_wait_long()
    op.drop_column("generations", COLUMN)
