"""Several files as one: tables with their columns brought together, and corpora one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from unembed.corpus.base import Chunk, Corpus
from unembed.corpus.cells import BadRows, fixed_dim
from unembed.corpus.paths import is_list
from unembed.corpus.table import Table
from unembed.errors import CorpusError


def joined_tables(what: str, tables: Sequence[Table]) -> Table:
    """The rows of all, in this order. A column may have a type of its own in each file.

    Where JSON lacks a key, its rows are null; a column that another table lacks is a CorpusError when it is read, and
    so are vectors of another length.
    """
    if len(tables) == 1:
        return tables[0]
    kinds: dict[str, Any] = {}
    for table in tables:
        for field in table.schema:
            kinds[field.name] = _common(kinds.get(field.name, field.type), field.type)

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for name in columns:
            _require(tables, name)
        for table in tables:
            there = [name for name in columns if name in table.schema.names]
            for batch in table.batches(there):
                arrays = [
                    _as(batch.column(name), kinds[name]) if name in there else pa.nulls(batch.num_rows, kinds[name])
                    for name in columns
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    counts = [table.rows for table in tables if table.rows is not None]
    rows = sum(counts) if len(counts) == len(tables) else None
    dtype = next((table.dtype for table in tables if table.dtype is not None), None)
    return Table(what, pa.schema(list(kinds.items())), rows, batches, _digest(table.digest for table in tables), dtype)


def joined_corpora(what: str, corpora: Sequence[Corpus]) -> Corpus:
    """The rows of all, in this order, in the widest of their types. CorpusError unless all have one dimension."""
    first, bad = corpora[0], BadRows()
    if len(corpora) == 1:
        return first
    if other := next((corpus for corpus in corpora if corpus.dim != first.dim), None):
        raise _differs(other.what, other.dim, first.what, first.dim)
    dtype = np.result_type(*(corpus.dtype for corpus in corpora))

    def chunks() -> Iterator[Chunk]:
        bad.clear()
        before = 0
        for corpus in corpora:
            for vectors, ids in corpus.chunks():
                bad.untold |= {before + row: why for row, why in corpus.bad.untold.items()}
                corpus.bad.untold.clear()
                yield vectors.astype(dtype, copy=False), (None,) * len(vectors) if ids is None and with_ids else ids
            _add(bad, corpus.bad, before)
            before += corpus.rows

    with_ids = any(next(corpus.chunks())[1] is not None for corpus in corpora)
    notes = tuple(dict.fromkeys(note for corpus in corpora for note in corpus.notes))
    rows = sum(corpus.rows for corpus in corpora)
    return Corpus(what, rows, first.dim, dtype, chunks, _digest(corpus.digest for corpus in corpora), notes, bad)


def _common(one: Any, other: Any) -> Any:
    """A type that holds both, where there is one; else the first."""
    if one.equals(other):
        return one
    if pa.types.is_dictionary(one) or pa.types.is_dictionary(other):
        return _common(*(each.value_type if pa.types.is_dictionary(each) else each for each in (one, other)))
    if is_list(one) and is_list(other):
        if pa.types.is_fixed_size_list(one) and pa.types.is_fixed_size_list(other) and one.list_size == other.list_size:
            return pa.list_(_common(one.value_type, other.value_type), one.list_size)
        return pa.large_list(_common(one.value_type, other.value_type))
    try:
        return pa.unify_schemas([pa.schema([("", one)]), pa.schema([("", other)])], promote_options="permissive").types[
            0
        ]
    except (pa.ArrowException, TypeError):
        scalar = not (pa.types.is_nested(one) or pa.types.is_nested(other))
        return pa.string() if scalar and pa.types.is_string(other) else one


def _as(array: Any, kind: Any) -> Any:
    """In the common type, where it can be; every reader of cells goes by the type that they have."""
    if array.type.equals(kind):
        return array
    try:
        return array.cast(kind)
    except (pa.ArrowException, TypeError):
        return array


def _require(tables: Sequence[Table], name: str) -> None:
    has = [table for table in tables if name in table.schema.names]
    lacks = next((table for table in tables if table not in has and not _is_json(table)), None)
    if has and lacks is not None:
        raise CorpusError(
            f"{lacks.what} has no column {name!r}, which {has[0].what} has; its columns are "
            f"{', '.join(map(repr, lacks.schema.names)) or 'none'}"
        )
    dims = [(table, dim) for table in has if (dim := fixed_dim(table.schema.field(name).type)) is not None]
    if other := next((each for each in dims if each[1] != dims[0][1]), None):
        raise _differs(other[0].what, other[1], dims[0][0].what, dims[0][1])


def _is_json(table: Table) -> bool:
    return table.dtype is not None  # whose rows may lack any key


def _differs(one: str, dim: int, other: str, other_dim: int) -> CorpusError:
    return CorpusError(
        f"{one} has vectors of {dim} dimensions, but those of {other} have {other_dim}: decode them one after the other"
    )


def _add(bad: BadRows, more: BadRows, before: int) -> None:
    """Counts those of a corpus with `before` rows in front of it."""
    for reason, count in more.counts.items():
        bad.counts[reason] += count
        bad.first.setdefault(reason, before + more.first[reason])
    bad.without_id += more.without_id
    bad.with_more += more.with_more


def _digest(digests: Iterable[Callable[[], str]]) -> Callable[[], str]:
    calls = list(digests)
    return lambda: hashlib.sha256("\0".join(digest() for digest in calls).encode()).hexdigest()
