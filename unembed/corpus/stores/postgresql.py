"""PostgreSQL: the rows of a query, by psycopg, in the binary form; pgvector's types need no package of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, cast

import psycopg
import pyarrow as pa
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format

from unembed.corpus.stores.asked import ROWS, StoreRequest, line, require_names
from unembed.corpus.stores.kept import kept
from unembed.corpus.stores.postgresql_values import ARRAYS, PGVECTOR, ColumnKind, kind_of
from unembed.corpus.table import Table
from unembed.errors import CorpusError, StorageUnavailableError

_TIMEOUT: Final = 10  # seconds to connect in, unless the URL or PGCONNECT_TIMEOUT says another
_TABLES: Final = """
    select case when pg_table_is_visible(oid) then relname::text else relnamespace::regnamespace || '.' || relname end
    from pg_class
    where relkind in ('r', 'p', 'v', 'm', 'f')
    and relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema')
    order by 1
"""
_CONNECTION_LOST: Final = ("08", "57P")  # classes of errors


class _Column(NamedTuple):
    name: str
    kind: ColumnKind


def read(asked: StoreRequest) -> Table:
    """One snapshot (REPEATABLE READ, READ ONLY), fetched by a cursor of the server's."""
    with _connected(asked) as connection:
        query = asked.required_query([str(name) for (name,) in connection.execute(cast(Any, _TABLES))])
        own = _own_types(connection)
        with connection.cursor("unembed", binary=True) as cursor:
            for oid in (*own, *ARRAYS):
                cursor.adapters.register_loader(oid, _AsBytes)
            cursor.execute(cast(Any, query))
            columns = [_Column(each.name, kind_of(each.type_code, own)) for each in cursor.description or ()]
            require_names([column.name for column in columns], asked.what)
            schema = pa.schema([(name, kind.type) for name, kind in columns])
            return kept(asked.what, schema, _batches(lambda: cursor.fetchmany(ROWS), columns, schema), asked.progress)


class _AsBytes(Loader):
    """Leaves a value as it came, for a whole column to be read at once."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def _own_types(connection: psycopg.Connection[Any]) -> dict[int, str]:
    """pgvector's types have another number in each database; those of an enumeration are text."""
    rows = connection.execute(
        "select oid, typname::text, typcategory::text from pg_type "
        "where typname = any(%s) or typcategory = 'E' or typname in ('citext', 'ltree')",
        [list(PGVECTOR)],
    )
    return {oid: name if name in PGVECTOR else "text" for oid, name, _ in rows}


def _batches(
    fetch: Callable[[], Sequence[Sequence[Any]]], columns: Sequence[_Column], schema: Any
) -> Iterator[pa.RecordBatch]:
    while rows := fetch():
        values = zip(*rows, strict=True)
        arrays = [column.kind.array(cells) for column, cells in zip(columns, values, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


@contextmanager
def _connected(asked: StoreRequest) -> Iterator[psycopg.Connection[Any]]:
    """Raises StorageUnavailableError for a server that is not there, and CorpusError for what it refuses."""
    try:
        given = psycopg.conninfo.conninfo_to_dict(asked.place)
    except psycopg.ProgrammingError:
        # What libpq says repeats a part of the URL, and with it of the password.
        raise CorpusError(
            f"{asked.what} is no URL that PostgreSQL reads; expected postgresql://user@host:5432/database, with the "
            "signs of a password written as %40, %25 and so on; or leave the password to PGPASSWORD"
        ) from None
    try:
        # Nothing is prepared: a pooler may give each transaction another session.
        given.setdefault("connect_timeout", _timeout())
        connection = psycopg.connect(**cast(Any, given), prepare_threshold=None)
    except psycopg.Error as error:
        raise StorageUnavailableError(f"{asked.what} cannot be reached: {line(error)}") from None
    try:
        with connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            yield connection
    except psycopg.Error as error:
        lost = error.sqlstate is None or error.sqlstate.startswith(_CONNECTION_LOST)
        if lost and isinstance(error, psycopg.OperationalError):
            raise StorageUnavailableError(f"{asked.what} was lost while it was read: {line(error)}") from error
        raise CorpusError(f"{asked.what} refuses the query: {_said(error)}") from error


def _timeout() -> int | str:
    return os.environ.get("PGCONNECT_TIMEOUT", _TIMEOUT)


def _said(error: psycopg.Error) -> str:
    if error.diag.message_primary is None:
        return line(error)
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    return " ".join(f"{error.diag.message_primary}{hint}".split())
