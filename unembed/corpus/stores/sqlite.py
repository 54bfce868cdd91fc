"""SQLite: the rows of a query, by the standard library."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa

from unembed.corpus.stores.asked import ROWS, StoreRequest, line
from unembed.corpus.stores.kept import kept
from unembed.corpus.table import Table
from unembed.errors import CorpusError, MissingExtraError

_TABLES: Final = (
    "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%' order by 1"
)


def read(asked: StoreRequest) -> Table:
    """One transaction on a file that is opened for reading only."""
    path = asked.file("an SQLite database")
    with _failing(asked.what), closing(_connected(path)) as connection:
        connection.execute("begin")
        query = asked.required_query([name for (name,) in connection.execute(_TABLES)])
        schema = _schema(connection, query, asked.what)
        return kept(asked.what, schema, _batches(connection.execute(query), schema), asked.progress)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, isolation_level=None)
    connection.execute("pragma query_only = on")  # of databases that the query attaches, too
    connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
    _load_vec(connection)
    return connection


def _load_vec(connection: sqlite3.Connection) -> None:
    """sqlite-vec's tables and functions, where its package is installed and this Python loads extensions."""
    try:
        import sqlite_vec

        connection.enable_load_extension(True)
        sqlite_vec.load(connection)
        connection.enable_load_extension(False)
    except (ImportError, AttributeError):
        pass


def _schema(connection: sqlite3.Connection, query: str, what: str) -> pa.Schema:
    """The columns, with a type that fits all of their values: SQLite has one for each value."""
    with closing(connection.execute(f"select * from ({query}) limit 0")) as cursor:  # noqa: S608 - their own query
        names = [column[0] for column in cursor.description]
    kinds = ", ".join(f"group_concat(distinct typeof({_quoted(name)}))" for name in names)
    found: Sequence[str | None] = connection.execute(f"select {kinds} from ({query})").fetchone()  # noqa: S608
    return pa.schema([(name, _type(set((kind or "").split(",")))) for name, kind in zip(names, found, strict=True)])


def _type(kinds: set[str]) -> Any:
    kinds -= {"null", ""}
    if not kinds:
        return pa.null()
    if kinds == {"integer"}:
        return pa.int64()
    if kinds <= {"integer", "real"}:
        return pa.float64()
    return pa.binary() if "blob" in kinds else pa.string()


def _batches(cursor: sqlite3.Cursor, schema: Any) -> Iterator[pa.RecordBatch]:
    while rows := cursor.fetchmany(ROWS):
        columns = zip(*rows, strict=True)
        arrays = [_array(values, field.type) for values, field in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any], kind: Any) -> Any:
    if pa.types.is_string(kind):
        return pa.array([value if value is None else str(value) for value in values], kind)
    if pa.types.is_binary(kind):
        return pa.array([value if value is None or isinstance(value, bytes) else str(value) for value in values], kind)
    return pa.array(values, kind)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if "no such module: vec0" in str(error):
            raise MissingExtraError(
                f"{what} has tables of sqlite-vec, which needs its package and a Python that loads extensions of "
                "SQLite: pip install 'unembed[sqlite]'"
            ) from error
        raise CorpusError(f"{what} cannot be read: {line(error)}") from error
