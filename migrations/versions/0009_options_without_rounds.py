"""Jobs that are there keep decoding as they did, in today's options: there are no `rounds`, and greedy has to be named.

Candidates that the encoder ranked are as many texts that it embeds again. `unembed.models.earlier_options` says it all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

from unembed.models.earlier_options import renewed, reverted

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_JOBS = sa.table("jobs", sa.column("id", sa.Text()), sa.column("options", sa.JSON()))


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def _rewrite(into: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    connection = op.get_bind()
    jobs = connection.execute(sa.select(_JOBS.c.id, _JOBS.c.options)).all()
    if not jobs:
        return
    change = sa.update(_JOBS).where(_JOBS.c.id == sa.bindparam("job")).values(options=sa.bindparam("rewritten"))
    connection.execute(change, [{"job": job.id, "rewritten": into(job.options)} for job in jobs])


def upgrade() -> None:
    _do_not_wait_long()
    _rewrite(renewed)


def downgrade() -> None:
    _do_not_wait_long()
    _rewrite(reverted)
