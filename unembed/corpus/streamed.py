"""Vectors that pass by once: an iterator of batches or rows, of which a few batches are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa

from unembed.corpus.arrays import made_by, plain
from unembed.corpus.base import Chunk, Corpus, cut
from unembed.corpus.cells import BadRows
from unembed.corpus.frames import is_batch
from unembed.corpus.memory import corpus_from_array, is_pair
from unembed.corpus.one_cell import Coding
from unembed.corpus.slices import Slice
from unembed.errors import CorpusError

_TOGETHER: Final = 1024  # rows that come one by one


@dataclass(frozen=True)
class Stream:
    """A corpus of which nobody knows how long it is, and that can be read once. `Corpus` says what its fields mean."""

    what: str
    dim: int
    chunks: Iterator[Chunk]
    notes: tuple[str, ...] = ()
    bad: BadRows = field(default_factory=BadRows)
    embedder: str | None = None
    rows: None = None
    fingerprint: None = None  # it would have to be read for it

    def batches(self, size: int) -> Iterator[Slice]:
        """Slices of `size` rows, the last one shorter."""
        return cut(lambda: self.chunks, size, self.bad)


def is_stream(source: object) -> bool:
    """Whether it passes by once, so that to hold all of it is a choice."""
    return isinstance(source, (Iterator, pa.RecordBatchReader)) and not made_by(source, "pandas")


def stream_of(
    source: Iterable[object], *, column: str | None = None, id_column: str | None = None, cells: Coding | None = None
) -> Stream:
    """The corpus that an iterator gives: arrays, frames, tables or lists of rows, pairs of such and their ids, or rows.

    What it gives first says how many dimensions the vectors have; a later row of others is an error row. Raises
    CorpusError for what cannot be read, and when it is reached; what the iterator itself raises stays as it is.
    """
    what, bad = "the iterator", BadRows()
    pieces = (_corpus(piece, column, id_column, cells) for piece in _pieces(iter(source)))
    first = next(pieces, None)
    if first is None:
        raise CorpusError(f"{what} gives nothing, but a corpus needs at least 1 row")
    chunks = _chunks(chain([first], pieces), first.dim, bad)
    return Stream(what, first.dim, chunks, first.notes, bad, first.embedder)


def _chunks(pieces: Iterable[Corpus], dim: int, bad: BadRows) -> Iterator[Chunk]:
    first = 0
    for piece in pieces:
        for batch in piece.batches(piece.rows):
            vectors = batch.embeddings
            faults = dict(batch.faults)
            if batch.dim != dim:
                faults = dict.fromkeys(range(len(batch)), f"has {batch.dim} values instead of {dim}") | faults
                vectors = np.full((len(batch), dim), np.nan, np.float32)
            for row, reason in faults.items():
                bad.add(first + row, reason)
            bad.without_id += piece.bad.without_id
            yield vectors, batch.ids
            first += len(batch)


def _corpus(piece: Any, column: str | None, id_column: str | None, cells: Coding | None) -> Corpus:
    if is_pair(piece):
        return corpus_from_array(piece[0], piece[1], column=column, id_column=id_column, cells=cells)
    return corpus_from_array(piece, column=column, id_column=id_column, cells=cells)


def _pieces(source: Iterator[object]) -> Iterator[object]:
    """Batches as they come, and rows by the thousand."""
    rows: list[object] = []
    for item in source:
        if _is_many(item):
            if rows:
                yield rows
                rows = []
            yield item
        else:
            rows.append(item)
            if len(rows) == _TOGETHER:
                yield rows
                rows = []
    if rows:
        yield rows


def _is_many(item: Any) -> bool:
    """Whether it is a batch of rows, and not one row."""
    if isinstance(item, Mapping):
        return is_batch(item)
    if is_pair(item) or isinstance(item, (pa.RecordBatch, pa.Table)) or made_by(item, "pandas"):
        return True
    if hasattr(item, "__arrow_c_stream__") or hasattr(item, "__arrow_c_array__"):
        return True
    item = plain(item)
    if isinstance(item, np.ndarray):
        return item.ndim > 1
    return (
        isinstance(item, (list, tuple)) and bool(item) and isinstance(plain(item[0]), (list, tuple, np.ndarray, dict))
    )
