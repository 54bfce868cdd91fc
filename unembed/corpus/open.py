"""From whatever holds vectors to a Corpus."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from unembed.corpus.arrow_files import arrow_table
from unembed.corpus.base import Corpus
from unembed.corpus.json_lines import json_lines_table
from unembed.corpus.memory import corpus_from_array
from unembed.corpus.numpy_files import read_npy, read_npz
from unembed.corpus.one_cell import Coding
from unembed.corpus.parquet_files import parquet_table
from unembed.corpus.table import corpus_of
from unembed.errors import CorpusError

_TABLES = {
    ".parquet": parquet_table,
    ".arrow": arrow_table,
    ".feather": arrow_table,
    ".jsonl": json_lines_table,
}


def open_corpus(
    path: str | PathLike[str],
    column: str | None = None,
    id_column: str | None = None,
    cells: Coding | str | None = None,
) -> Corpus:
    """The corpus in a .npy, .npz, .parquet, .arrow, .feather or .jsonl file; only what says its shape is read yet.

    `column` is the path of the vectors, `response.body.data.0.embedding`; without it they are looked for.
    `id_column` is the path of the ids; without it they are found by their name, where there are any, and an empty one
    asks for none. `cells` says what quantised numbers and bytes mean: `unembed.corpus.Coding`. Raises CorpusError.
    """
    file = Path(path)
    coding = coding_of(cells)
    if file.suffix == ".npy":
        if column or id_column:
            raise CorpusError(f"{file} is one array, so it has no column {column or id_column!r}")
        return read_npy(file, coding)
    if file.suffix == ".npz":
        return read_npz(file, column, id_column, coding)
    if file.suffix not in _TABLES:
        known = ", ".join([".npy", ".npz", *_TABLES])
        raise CorpusError(f"{file} has the suffix {file.suffix!r}, but a corpus is one of {known}")
    return corpus_of(_TABLES[file.suffix](file), column, id_column, coding)


def coding_of(cells: Coding | str | None) -> Coding | None:
    """Raises CorpusError for what is none."""
    try:
        return None if cells is None else Coding(cells)
    except ValueError:
        raise CorpusError(f"cells is {cells!r}, but expected one of {', '.join(Coding)}") from None


def as_corpus(
    source: object,
    *,
    column: str | None = None,
    id_column: str | None = None,
    ids: Sequence[object] | None = None,
    cells: Coding | str | None = None,
) -> Corpus:
    """A corpus, a path to one, or vectors in memory, as a corpus. `ids` go with vectors in memory only."""
    if not isinstance(source, (Corpus, str, PathLike)):
        return corpus_from_array(source, ids, column=column, id_column=id_column, cells=coding_of(cells))
    if ids is not None:
        raise CorpusError("ids go with vectors in memory; those of a file are one of its columns: name it as id_column")
    return source if isinstance(source, Corpus) else open_corpus(source, column, id_column, cells)
