"""A Qdrant server, by its client: points are scrolled through in the order of their ids."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from unembed.corpus.stores.asked import StoreRequest, line
from unembed.corpus.stores.qdrant import Point, Vectors, points_table
from unembed.corpus.table import Table
from unembed.errors import AuthError, CorpusError, StorageUnavailableError

_POINTS: Final = 512  # in one answer, which is JSON: 4 MB of vectors of 384 dimensions
_TIMEOUT: Final = 60  # seconds for one answer


def read_server(asked: StoreRequest) -> Table:
    """The key is QDRANT_API_KEY. What is written while the points are read may be among them or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a key over http, of versions: what does not work says so itself
        client = QdrantClient(
            url=asked.place, api_key=os.environ.get("QDRANT_API_KEY"), timeout=_TIMEOUT, check_compatibility=False
        )
    with _failing(asked.what), closing(client):
        return read_client(client, asked)


def read_client(client: Any, asked: StoreRequest) -> Table:
    """Through any client, whatever it is connected to."""
    name = asked.collection
    if name is None or not client.collection_exists(name):
        name = asked.required_collection(sorted(each.name for each in client.get_collections().collections))
    what = asked.of(name)
    vector = _vectors(client.get_collection(name).config.params).chosen(asked.column, what)
    return points_table(_points(client, name, vector), vector, asked, what)


def _points(client: Any, name: str, vector: str) -> Iterator[Point]:
    after: Any = None
    while True:
        records, after = client.scroll(
            name, limit=_POINTS, offset=after, with_payload=True, with_vectors=[vector] if vector else True
        )
        for record in records:
            yield Point(record.id, record.vector, record.payload)
        if after is None:
            return


def _vectors(params: Any) -> Vectors:
    named = params.vectors if isinstance(params.vectors, dict) else {"": params.vectors} if params.vectors else {}
    dense = [name for name, each in named.items() if not each.multivector_config]
    return Vectors(dense, [name for name in named if name not in dense] + list(params.sparse_vectors or {}))


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code in (401, 403):
            raise AuthError(f"{what} wants a key: put it into QDRANT_API_KEY") from error
        kind = CorpusError if (error.status_code or 500) < 500 else StorageUnavailableError
        raise kind(f"{what} answers {error.status_code}: {line(error)}") from error
    except ApiException as error:
        raise StorageUnavailableError(f"{what} cannot be reached: {line(error)}") from error
