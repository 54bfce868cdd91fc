"""From whatever holds vectors to a Corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from unembed.corpus.arrow_files import arrow_table
from unembed.corpus.base import Chunk, Corpus
from unembed.corpus.digests import of_array
from unembed.corpus.json_lines import read_json_lines
from unembed.corpus.numpy_files import read_npy, read_npz
from unembed.corpus.parquet_files import parquet_table
from unembed.corpus.slices import Vectors, as_ids, require_vectors
from unembed.corpus.table import corpus_of
from unembed.corpus.vectors import length_error
from unembed.errors import CorpusError

_TABLES = {".parquet": parquet_table, ".arrow": arrow_table, ".feather": arrow_table}
_CORPORA = {".npz": read_npz, ".jsonl": read_json_lines}


def open_corpus(path: str | PathLike[str], column: str | None = None, id_column: str | None = None) -> Corpus:
    """The corpus in a .npy, .npz, .parquet, .arrow, .feather or .jsonl file; only what says its shape is read yet.

    `column` names the vectors; without it they are looked for among `corpus.CANDIDATES`. `id_column` names the ids;
    without it they are `id`, where there is such a column, and an empty name asks for none. Raises CorpusError.
    """
    file = Path(path)
    if file.suffix == ".npy":
        if column or id_column:
            raise CorpusError(f"{file} is one array, so it has no column {column or id_column!r}")
        return read_npy(file)
    if file.suffix in _TABLES:
        return corpus_of(_TABLES[file.suffix](file), column, id_column)
    if file.suffix not in _CORPORA:
        known = ", ".join([".npy", *_CORPORA, *_TABLES])
        raise CorpusError(f"{file} has the suffix {file.suffix!r}, but a corpus is one of {known}")
    return _CORPORA[file.suffix](file, column, id_column)


def corpus_from_array(embeddings: object, ids: Sequence[str | int] | None = None) -> Corpus:
    """The corpus of (N, D) floats: an array, a tensor, a list of lists, or an iterable of rows (read whole)."""
    what = "the array"
    vectors = require_vectors(_array(embeddings, what), what)
    names = None if ids is None else as_ids(ids, len(vectors), what)
    rows, dim = vectors.shape

    def chunks() -> Iterator[Chunk]:
        yield vectors, names

    return Corpus(what, rows, dim, vectors.dtype, chunks, lambda: of_array(vectors, names))


def as_corpus(
    source: object,
    *,
    column: str | None = None,
    id_column: str | None = None,
    ids: Sequence[str | int] | None = None,
) -> Corpus:
    """A corpus, a path to one, or vectors in memory, as a corpus. `ids` go with vectors in memory only."""
    if not isinstance(source, (Corpus, str, PathLike)):
        return corpus_from_array(source, ids)
    if ids is not None:
        raise CorpusError("ids go with vectors in memory; those of a file are one of its columns: name it as id_column")
    return source if isinstance(source, Corpus) else open_corpus(source, column, id_column)


def _array(embeddings: object, what: str) -> Vectors:
    if hasattr(embeddings, "__array__"):
        array: Vectors = np.asarray(embeddings)
        return array
    if not isinstance(embeddings, Iterable):
        raise CorpusError(f"embeddings are an array or rows of floats, not {type(embeddings).__name__}")
    rows = [np.asarray(row) for row in _checked(embeddings, what)]
    if not rows:
        raise CorpusError(f"{what} is empty: it has 0 rows, but a corpus needs at least 1")
    for index, row in enumerate(rows):
        if row.shape != rows[0].shape:
            raise length_error(what, index, row.size, rows[0].size)
    return np.stack(rows)


def _checked(rows: Iterable[Any], what: str) -> Iterator[Any]:
    for index, row in enumerate(rows):
        if row is None or isinstance(row, (str, bytes, dict)):
            raise CorpusError(f"row {index} of {what} is {type(row).__name__}, but a row is a list of floats")
        yield row
