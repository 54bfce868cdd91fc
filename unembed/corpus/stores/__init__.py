"""Stores of vectors, each read by its own client: databases by a query; collections, tables and indexes by their name.

    postgresql://user@host/database  --query         PostgreSQL: pgvector's types, real[], bytea, text
    sqlite:docs.db                   --query         SQLite: blobs of floats, JSON
    duckdb:docs.duckdb               --query         DuckDB, and the files that it reads
    qdrant:http://host:6333          --collection    a Qdrant server, or the folder of a local client: qdrant:./folder
    chroma:./folder                  --collection    the folder of a persistent Chroma client, or chroma:http://host:8000
    lance:./docs.lance                               a Lance table, or a LanceDB folder and --collection
    faiss:docs.faiss                                 a FAISS index

A store is only read. What can change while it is read, or costs as much to read again, is read once, in one snapshot,
into a temporary file (`stores.kept`); a Lance table and a FAISS index are read where they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from unembed.corpus.names import shown
from unembed.corpus.spool import Progress
from unembed.corpus.store_names import SOURCE, STORES, UNCLEAR, shown_source
from unembed.corpus.stores.asked import StoreRequest
from unembed.corpus.table import Table
from unembed.errors import CorpusError, MissingExtraError


def store_table(
    source: str,
    *,
    query: str | None = None,
    collection: str | None = None,
    column: str | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Table:
    """The rows of a store. `column` is the vector that is meant, where a store has several to a row.

    Raises CorpusError for what is not there or is refused, StorageUnavailableError for a server that cannot be
    reached, AuthError and MissingExtraError.
    """
    found = SOURCE.fullmatch(source)
    if found is None:
        raise CorpusError(f"{source!r} names no store; expected one of {', '.join(f'{scheme}:' for scheme in STORES)}")
    scheme, place, what = found["scheme"], found["place"], shown(shown_source(source))
    if what.endswith(UNCLEAR):
        raise CorpusError(
            f"{what} has a password with signs that end it: write @ / ? # in it as %40 %2F %3F %23, or leave it to the "
            "store's own variable, such as PGPASSWORD"
        )
    store = STORES[scheme]
    for option, value in (("query", query), ("collection", collection)):
        if value is not None and option not in store.takes:
            instead = f"; it takes --{store.takes[0]}" if store.takes else ""
            raise CorpusError(f"--{option} does not go with {scheme}:{instead}")
    url = f"{scheme}:{place}" if store.module == "postgresql" else place
    try:
        reader: Callable[[StoreRequest], Table] = import_module(f"{__name__}.{store.module}").read
        return reader(StoreRequest(url, what, query, collection, column, progress))
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(error.name or scheme, store.extra) from None


__all__ = ["StoreRequest", "store_table"]
