"""PostgreSQL: how a connection is prepared, behind a pooler too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import ExecutionContext

if TYPE_CHECKING:
    import psycopg

BINARY: Final = "unembed_binary"  # of one statement: its rows come as numbers, not as text to be read again
LOCK_TIMEOUT_SECONDS: Final = 30
_POOLED: Final = "unembed_pooled"  # a connection that a pooler stands behind


def prepare(connection: Any, record: Any) -> None:
    """Behind a pooler such as PgBouncer, each transaction may have another server process: no statement that was
    prepared is there in the next one, and what a session was told stays with whoever comes after us."""
    if is_pooled(connection):
        connection.prepare_threshold = None  # never
        record.info[_POOLED] = True
    else:
        connection.execute(_limits(is_local=False))
    connection.commit()


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether the process that answers is not the one that the connection was told of: only a pooler does that."""
    (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (None,)
    return pid != connection.info.backend_pid


def begin(connection: Connection) -> None:
    if connection.info.get(_POOLED):
        connection.exec_driver_sql(_limits(is_local=True))


@contextmanager
def without_transactions(connection: Connection) -> Iterator[None]:
    """Each statement by itself, and however long it waits for a lock; the connection is used no more after it."""
    connection.execution_options(isolation_level="AUTOCOMMIT")
    if not connection.info.get(_POOLED):  # there the limit was never set beyond a transaction
        connection.exec_driver_sql("SET lock_timeout = 0")
    try:
        yield
    finally:
        connection.invalidate()


def _limits(*, is_local: bool) -> str:
    """A process that is stopped in the middle of a transaction must not hold its locks for ever, and nobody waits for
    it as long. `is_local`: for this transaction alone."""
    local = str(is_local).lower()
    return (
        f"SELECT set_config('idle_in_transaction_session_timeout', '{2 * LOCK_TIMEOUT_SECONDS}s', {local}), "
        f"set_config('lock_timeout', '{LOCK_TIMEOUT_SECONDS}s', {local})"
    )


def choose_format(
    _connection: Connection,
    cursor: psycopg.Cursor[Any],
    _statement: str,
    _parameters: object,
    context: ExecutionContext,
    _many: bool,
) -> None:
    if context.execution_options.get(BINARY):
        from psycopg.pq import Format

        cursor.format = Format.BINARY
