"""FAISS indexes: their vectors, reconstructed.

The reader of an index is C++ and runs no code that is in it, but a file made to harm can make it fail in any way: read
those that you trust.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unembed.corpus.digests import of_file
from unembed.corpus.stores.asked import ROWS, StoreRequest, line
from unembed.corpus.table import Table
from unembed.errors import CorpusError

_EXACT: Final = re.compile(r"Flat(L2|IP|1D|Dedup|Panorama)?$")  # kinds that keep the floats themselves
_ARE_OR_HOLD_LISTS: Final = re.compile(r"IndexIVF|IndexPreTransform")
_PLACE: Final = re.compile(r"^Error in .*?:\d+: ")  # in the source of FAISS
_FLAGS: Final = faiss.IO_FLAG_READ_ONLY | faiss.IO_FLAG_MMAP_IFC  # what can stay in the file is mapped, not loaded

_Ids = NDArray[np.int64]
_Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class _Index:
    """An index, and how its vectors are had."""

    owner: Any  # what has to live as long as it is read
    rows: int
    dim: int
    ids: _Ids | None  # (N,) where they are not the numbers of the rows
    vectors: Callable[[int, int], _Vectors]  # (n, D) from a row on
    exact: bool


def read(asked: StoreRequest) -> Table:
    """The vectors in the order of their rows, those of an inverted file in the order of their ids."""
    path = asked.file("a FAISS index")
    with _failing(asked.what):
        index = _opened(faiss.read_index(str(path), _FLAGS), asked.what)
    fields = [("embedding", pa.list_(pa.float32(), index.dim))]
    schema = pa.schema(fields if index.ids is None else [("id", pa.int64()), *fields])

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for first in range(0, index.rows, ROWS):
            rows = min(ROWS, index.rows - first)
            arrays = [_column(name, index, first, rows, asked.what) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    what = asked.what if index.exact else f"{asked.what} (quantised: its vectors are approximate)"
    return Table(what, schema, index.rows, batches, lambda: of_file(path))


def _column(name: str, index: _Index, first: int, rows: int, what: str) -> Any:
    if name == "id" and index.ids is not None:
        return pa.array(index.ids[first : first + rows])
    with _failing(what):
        vectors = index.vectors(first, rows)
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), index.dim)


def _opened(index: Any, what: str) -> _Index:
    """Raises CorpusError for an index whose vectors cannot be had from it."""
    names, outer = None, index
    if isinstance(index, (faiss.IndexIDMap, faiss.IndexIDMap2)):
        names, index = faiss.vector_to_array(index.id_map), faiss.downcast_index(index.index)
    rows, dim = int(index.ntotal), int(index.d)
    lists = faiss.try_extract_index_ivf(index) if _ARE_OR_HOLD_LISTS.match(_kind(index)) else None
    lists = None if lists is None else faiss.downcast_index(lists)
    if lists is not None and "FastScan" in _kind(lists):
        raise CorpusError(f"{what} is {_kind(lists)}, from which FAISS cannot reconstruct vectors")  # it would crash
    keys = np.arange(rows) if lists is None else _keys(lists)
    if rows:
        # By itself, as in lists each is: what fails among several, in FAISS's threads, ends the process.
        try:
            index.reconstruct(int(keys[0]))
        except RuntimeError as error:
            raise CorpusError(
                f"{what} is {_kind(index)}, from which FAISS cannot reconstruct vectors; expected a flat, HNSW, IVF, "
                "PQ or scalar-quantised index"
            ) from error
    are_rows = np.array_equal(keys, np.arange(rows))
    ids = None if names is None and are_rows else keys if names is None else names[keys]

    def vectors(first: int, count: int) -> _Vectors:
        if lists is None:
            found: _Vectors = index.reconstruct_n(first, count)
            return found
        return np.stack([index.reconstruct(key) for key in keys[first : first + count].tolist()])

    return _Index(outer, rows, dim, ids, vectors, exact=_EXACT.search(_kind(index)) is not None)


def _keys(lists: Any) -> _Ids:
    """(N,) in order, the keys of an inverted file's vectors, which can be looked up from then on."""
    lists.set_direct_map_type(faiss.DirectMap.Hashtable)
    held = lists.invlists
    sizes = [held.list_size(at) for at in range(lists.nlist)]
    keys = [faiss.rev_swig_ptr(held.get_ids(at), size).copy() for at, size in enumerate(sizes) if size]
    return np.sort(np.concatenate(keys)) if keys else np.zeros(0, np.int64)


def _kind(index: Any) -> str:
    return type(index).__name__


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = _PLACE.sub("", line(error))
        if "not recognized" in reason:
            reason = f"it is no FAISS index, or one of bits ({reason})"
        raise CorpusError(f"{what} cannot be read: {reason}") from error
