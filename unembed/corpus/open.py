"""From whatever holds vectors to a Corpus."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, Final, cast

from unembed.boundary import did_you_mean
from unembed.corpus.arrow_files import arrow_table
from unembed.corpus.base import Corpus, understood
from unembed.corpus.binary_files import bin_table, safetensors_table, vecs_table
from unembed.corpus.csv_files import csv_table
from unembed.corpus.files import said
from unembed.corpus.formats import SUFFIXES, format_of
from unembed.corpus.joined import joined_corpora, joined_tables
from unembed.corpus.json_documents import json_table
from unembed.corpus.json_lines import json_lines_table
from unembed.corpus.local_files import LocalFile, local_files
from unembed.corpus.memory import corpus_from_array
from unembed.corpus.names import shown
from unembed.corpus.numpy_files import read_npy, read_npz
from unembed.corpus.one_cell import Coding
from unembed.corpus.parquet_files import parquet_table
from unembed.corpus.spool import Progress, held
from unembed.corpus.store_names import STORES, is_store, shown_source
from unembed.corpus.stores import store_table
from unembed.corpus.streamed import Stream, is_stream, stream_of
from unembed.corpus.table import Table, corpus_of
from unembed.errors import CorpusError

Source = str | PathLike[str]

_TABLES: Final[dict[str, Callable[..., Table]]] = {
    "parquet": parquet_table,
    "arrow": arrow_table,
    "jsonl": json_lines_table,
    "json": json_table,
    "csv": csv_table,
    "tsv": lambda path, what: csv_table(path, what, "\t"),
    "safetensors": safetensors_table,
    "fvecs": lambda path, what: vecs_table(path, what, "<f4"),
    "bvecs": lambda path, what: vecs_table(path, what, "u1"),
    "fbin": lambda path, what: bin_table(path, what, "<f4"),
    "u8bin": lambda path, what: bin_table(path, what, "u1"),
    "i8bin": lambda path, what: bin_table(path, what, "i1"),
}


def open_corpus(
    source: Source | Sequence[Source],
    column: str | None = None,
    id_column: str | None = None,
    cells: Coding | str | None = None,
    *,
    input_format: str | None = None,
    query: str | None = None,
    collection: str | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Corpus:
    """The corpus in a file, a folder, a pattern, a URL or `-` (stdin), or in several of them, one after the other.

    Or that in a store, such as `postgresql://me@host/db` or `qdrant:./folder`: the rows of a `query`, or a `collection`
    of those that it has. See `unembed.corpus.stores`.

    `column` is the path of the vectors, `response.body.data.0.embedding`; without it they are looked for.
    `id_column` is the path of the ids; without it they are found by their name, where there are any, and an empty one
    asks for none. `cells` says what quantised numbers and bytes mean: `unembed.corpus.Coding`. `input_format` is a key
    of `unembed.corpus.formats.SUFFIXES`; without it the contents and the suffix say what a file is.

    Of local files only what says their shape is read yet. What comes once (stdin, a pipe), from afar (a URL) or
    compressed is put into a temporary file first; `progress` is told how far that is. Raises CorpusError,
    MissingExtraError and StorageUnavailableError.
    """
    coding = coding_of(cells)
    named = _named(source)
    with understood(source):
        if query is not None or collection is not None or any(map(is_store, named)):
            opened = _of_store(named, input_format)
            table = opened(query=query, collection=collection, column=column, progress=progress)
            return corpus_of(table, column, id_column, coding)
        return _of_files(named, column, id_column, coding, input_format, progress)


def _named(source: object) -> list[str]:
    listed = [source] if isinstance(source, (str, PathLike)) or not isinstance(source, (list, tuple)) else source
    named = [os.fspath(each) for each in listed if isinstance(each, (str, PathLike))]
    if len(named) < len(listed) or not all(isinstance(each, str) for each in named):
        raise CorpusError(f"got a {type(source).__name__}; expected a path or URL, or a list of them")
    return named


def _of_files(
    named: list[str],
    column: str | None,
    id_column: str | None,
    coding: Coding | None,
    input_format: str | None,
    progress: Progress,
) -> Corpus:
    files, passed_over = _files(named, input_format, progress)
    opened = [_opened(file, column, id_column, coding, input_format) for file in files]
    what = _called(named, files)
    tables = [each for each in opened if isinstance(each, Table)]
    if len(tables) == len(opened):
        corpus = corpus_of(joined_tables(what, tables), column, id_column, coding)
    else:
        corpora = [corpus_of(each, column, id_column, coding) if isinstance(each, Table) else each for each in opened]
        corpus = joined_corpora(what, corpora)
    return replace(corpus, notes=(said(passed_over), *corpus.notes)) if passed_over else corpus


def open_table(
    source: str,
    *,
    column: str | None = None,
    query: str | None = None,
    collection: str | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Table:
    """The rows of a source as they lie there, with all their columns. Raises as `open_corpus` does, and CorpusError
    for arrays, which have no columns."""
    if query is not None or collection is not None or is_store(source):
        table: Table = _of_store([source], None)(query=query, collection=collection, column=column, progress=progress)
        return table
    files, _ = _files([source], None, progress)
    tables = [_opened(file, None, None, None, None) for file in files]
    what = _called([source], files)
    if not all(isinstance(each, Table) for each in tables):
        raise CorpusError(f"{what} is an array, which has no columns; expected a file with columns")
    return joined_tables(what, [each for each in tables if isinstance(each, Table)])


def _of_store(named: Sequence[str], input_format: str | None) -> Callable[..., Table]:
    if not any(map(is_store, named)):
        schemes = ", ".join(f"{scheme}:" for scheme in STORES)
        raise CorpusError(f"{shown(named[0])} takes no query and no collection; those of a store do: {schemes}")
    if len(named) > 1:
        raise CorpusError(f"{shown(shown_source(named[0]))} and {len(named) - 1} more are named; expected one store")
    if input_format is not None:
        raise CorpusError(f"a store is no file, so it has no input format {input_format!r}")
    return partial(store_table, named[0])


def coding_of(cells: Coding | str | None) -> Coding | None:
    """Raises CorpusError for what is none."""
    try:
        return None if cells is None else Coding(cells)
    except (ValueError, TypeError):
        shown = repr(cells) if isinstance(cells, str) else f"a {type(cells).__name__}"
        raise CorpusError(f"cells is {shown}, but expected one of {', '.join(Coding)}") from None


def as_corpus(
    source: object,
    *,
    column: str | None = None,
    id_column: str | None = None,
    ids: Sequence[object] | None = None,
    cells: Coding | str | None = None,
) -> Corpus:
    """A corpus, a path to one or several paths, or vectors in memory, as a corpus. `ids` go with those in memory."""
    if ids is not None and not isinstance(ids, Sequence) and not hasattr(ids, "__len__"):
        raise CorpusError(f"ids are of the type {type(ids).__name__}; expected a list of them")
    if not isinstance(source, Corpus) and not _are_paths(source):
        return corpus_from_array(source, ids, column=column, id_column=id_column, cells=coding_of(cells))
    if ids is not None:
        raise CorpusError("ids go with vectors in memory; those of a file are one of its columns: name it as id_column")
    return source if isinstance(source, Corpus) else open_corpus(cast(Any, source), column, id_column, cells)


def as_stream(
    source: object,
    *,
    column: str | None = None,
    id_column: str | None = None,
    ids: Sequence[object] | None = None,
    cells: Coding | str | None = None,
) -> Corpus | Stream:
    """The same; what passes by once stays a stream, of which only the beginning is read yet."""
    if ids is None and is_stream(source):
        return stream_of(cast(Any, source), column=column, id_column=id_column, cells=coding_of(cells))
    return as_corpus(source, column=column, id_column=id_column, ids=ids, cells=cells)


def _are_paths(source: object) -> bool:
    """A list of strings is one of paths, unless they are vectors as text: `[0.1, 0.2]`."""
    if isinstance(source, (list, tuple)):
        return bool(source) and all(
            isinstance(each, (str, PathLike)) and not str(each).lstrip().startswith(("[", "{")) for each in source
        )
    return isinstance(source, (str, PathLike))


def _files(named: Sequence[str], input_format: str | None, progress: Progress) -> tuple[list[LocalFile], Sequence[str]]:
    """The files, and the names of others in their folders."""
    if input_format is not None and input_format not in SUFFIXES:
        expected = ", ".join(SUFFIXES) + did_you_mean(input_format, SUFFIXES)
        raise CorpusError(f"the input format is {input_format!r}, but expected one of {expected}")
    passed_over = list[str]()
    files = local_files(named, progress, passed_over)
    if len(files) > 1:
        files = [file for file in files if file.path.stat().st_size] or files  # an empty shard has no rows
    return files, passed_over


def _opened(
    file: LocalFile, column: str | None, id_column: str | None, coding: Coding | None, wanted: str | None
) -> Table | Corpus:
    """A table, or the corpus of an array, which has no columns to carry."""
    kind = format_of(file.path, file.name, file.what, wanted)
    if kind in _TABLES:
        table = _TABLES[kind](file.path, file.what)
        return replace(table, batches=held(file.spool, table.batches), digest=held(file.spool, table.digest))
    if kind == "npz":
        corpus = read_npz(file.path, file.what, column, id_column, coding)
    elif column or id_column:
        raise CorpusError(f"{file.what} is one array, so it has no column {column or id_column!r}")
    else:
        corpus = read_npy(file.path, file.what, coding)
    return replace(corpus, chunks=held(file.spool, corpus.chunks), digest=held(file.spool, corpus.digest))


def _called(named: Sequence[str], files: Sequence[LocalFile]) -> str:
    if len(files) == 1:
        return files[0].what
    return (
        f"{shown(named[0])} and {len(named) - 1} more" if len(named) > 1 else f"{shown(named[0])} ({len(files)} files)"
    )
