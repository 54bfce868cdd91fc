"""A batch knows how its rows' quality is spread, and its best and worst rows are found by an index.

The index takes the place of the one by batch alone. One by job would have its rows put in all over it: with a
million rows in SQLite, that made each batch take nearly three times as long to write.

On PostgreSQL it is built before the transaction, concurrently: workers write meanwhile.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None

OLD = "ix_generations_batch_id"
NEW = "ix_generations_batch_id_overall_quality_index"


def _do_not_wait_long() -> None:
    # A change of a table that waits for its lock makes every query behind it wait too: better to fail and try again.
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL lock_timeout = '5s'")


def prepare(connection: sa.Connection) -> None:
    """What `models/database.py` does before the transaction, on PostgreSQL; safe to repeat after any interruption."""
    if not _is_whole(connection):
        connection.execute(sa.text(f"DROP INDEX CONCURRENTLY IF EXISTS {NEW}"))  # of a build that was interrupted
        columns = 'batch_id, overall_quality, "index"'
        connection.execute(sa.text(f"CREATE INDEX CONCURRENTLY {NEW} ON generations ({columns})"))


def _is_whole(connection: sa.Connection) -> bool:
    valid = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    return bool(connection.execute(valid, {"name": NEW}).scalar())


def upgrade() -> None:
    _do_not_wait_long()
    op.add_column("batches", sa.Column("quality", sa.JSON()))
    connection = op.get_bind()
    # Not there on SQLite, in tables that are new, and where `alembic` itself is run: that prepares nothing.
    if connection.dialect.name == "sqlite" or not _is_whole(connection):
        op.drop_index(op.f(NEW), "generations", if_exists=True)
        op.create_index(op.f(NEW), "generations", ["batch_id", "overall_quality", "index"])
    op.drop_index(op.f(OLD), "generations")


def downgrade() -> None:
    _do_not_wait_long()
    op.create_index(op.f(OLD), "generations", ["batch_id"])
    op.drop_index(op.f(NEW), "generations")
    op.drop_column("batches", "quality")
