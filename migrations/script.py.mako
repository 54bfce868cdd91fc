"""${message}

Revision ${up_revision}, after ${down_revision | comma,n}.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def upgrade() -> None:
    _do_not_wait_long()
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    _do_not_wait_long()
    ${downgrades if downgrades else "pass"}
