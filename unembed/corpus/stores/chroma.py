"""Chroma: the records of a collection, by its client."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import quote, urlsplit

import chromadb
import numpy as np
import pyarrow as pa
from chromadb.config import Settings
from chromadb.errors import ChromaAuthError, ChromaError

from unembed.corpus.spool import spool_folder
from unembed.corpus.stores.asked import StoreRequest, json_of, line
from unembed.corpus.stores.kept import kept
from unembed.corpus.table import Table
from unembed.errors import AuthError, CorpusError, StorageUnavailableError, UnembedError

_DATABASE: Final = "chroma.sqlite3"
_RECORDS: Final = 1024  # in one answer
_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("document", pa.string()),
        ("metadata", pa.string()),
        ("uri", pa.string()),
    ]
)


def read(asked: StoreRequest) -> Table:
    """The folder of a persistent client, or a server, whose token is CHROMA_API_KEY.

    Of a server, what is written while the records are read may be among them or not.
    """
    with _failing(asked.what), _server(asked) if asked.is_server else _folder(asked) as client:
        name = asked.required_collection(sorted(each.name for each in client.list_collections()))
        collection = client.get_collection(name, embedding_function=None)
        return kept(asked.of(name), _SCHEMA, _batches(collection), asked.progress)


@contextmanager
def _folder(asked: StoreRequest) -> Iterator[Any]:
    """A client of a copy: the client writes into the folder that it opens, and brings an older one up to date."""
    folder = asked.path("the folder of a persistent Chroma client")
    if not (folder / _DATABASE).is_file():
        raise CorpusError(f"{asked.what} has no {_DATABASE}; expected the folder of a persistent Chroma client")
    with TemporaryDirectory(prefix="unembed-", dir=spool_folder(), ignore_cleanup_errors=True) as copy:
        copytree(folder, copy, dirs_exist_ok=True, ignore=ignore_patterns(f"{_DATABASE}*"))
        with (
            closing(
                sqlite3.connect(f"file:{quote(str((folder / _DATABASE).absolute()))}?mode=ro", uri=True)
            ) as database,
            closing(sqlite3.connect(Path(copy, _DATABASE))) as copied,
        ):
            database.backup(copied)  # as it is in one moment, whoever writes to it
        with closing(chromadb.PersistentClient(copy, Settings(anonymized_telemetry=False))) as client:
            yield client


def _server(asked: StoreRequest) -> Any:
    url, token = urlsplit(asked.place), os.environ.get("CHROMA_API_KEY")
    client = chromadb.HttpClient(
        url.hostname or "",
        url.port or (443 if url.scheme == "https" else 8000),
        ssl=url.scheme == "https",
        headers={"x-chroma-token": token} if token else None,
        settings=Settings(anonymized_telemetry=False),
    )
    return closing(client)


def _batches(collection: Any) -> Iterator[pa.RecordBatch]:
    first = 0
    while True:
        found = collection.get(limit=_RECORDS, offset=first, include=["embeddings", "documents", "metadatas", "uris"])
        if not found["ids"]:
            return
        first += len(found["ids"])
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(found["ids"], pa.string()),
                _vectors(found["embeddings"], len(found["ids"])),
                pa.array(found["documents"], pa.string()),
                pa.array([None if each is None else json_of(each) for each in found["metadatas"]], pa.string()),
                pa.array(found["uris"], pa.string()),
            ],
            schema=_SCHEMA,
        )


def _vectors(vectors: Sequence[Any] | None, rows: int) -> Any:
    given = [None] * rows if vectors is None else [None if each is None else np.asarray(each, "f4") for each in vectors]
    return pa.array(given, pa.list_(pa.float32()))


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except (UnembedError, ModuleNotFoundError):
        raise
    except ChromaAuthError as error:
        raise AuthError(f"{what} wants a token: put it into CHROMA_API_KEY") from error
    except (ChromaError, sqlite3.Error, ValueError, OSError) as error:
        kind = StorageUnavailableError if "connect" in str(error).lower() else CorpusError
        raise kind(f"{what} cannot be read: {line(error)}") from error
    except Exception as error:  # its core in Rust raises errors of its own, which are only exceptions
        raise CorpusError(f"{what} cannot be read: {line(error)}") from error
