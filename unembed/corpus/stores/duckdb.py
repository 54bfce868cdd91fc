"""DuckDB: the rows of a query, on a database or on the files that DuckDB reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import duckdb
import pyarrow as pa

from unembed.corpus.stores.asked import ROWS, StoreRequest, line, require_names
from unembed.corpus.stores.kept import kept
from unembed.corpus.table import Table
from unembed.errors import CorpusError


def read(asked: StoreRequest) -> Table:
    """A query that only selects, on a file that is opened for reading only; without a file, on none."""
    file = str(asked.file("a DuckDB database")) if asked.place else None
    with _failing(asked.what), closing(_connected(file)) as connection:
        tables = [name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()]
        query = asked.required_query(tables)
        _require_select(connection, query, asked.what)
        reader = connection.sql(query).to_arrow_reader(ROWS)
        require_names(reader.schema.names, asked.what)
        return kept(asked.what, reader.schema, reader, asked.progress)


def _connected(file: str | None) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(file, read_only=True) if file else duckdb.connect()


def _require_select(connection: duckdb.DuckDBPyConnection, query: str, what: str) -> None:
    """A file that is open for reading only still lets a query write others: `copy (...) to ...`."""
    kinds = [statement.type for statement in connection.extract_statements(query)]
    if kinds != [duckdb.StatementType.SELECT]:
        found = " and ".join(kind.name for kind in kinds)
        raise CorpusError(f"the query on {what} is {found}, but a corpus is read by one SELECT")


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        raise CorpusError(f"{what} cannot be read: {line(error)}") from error
