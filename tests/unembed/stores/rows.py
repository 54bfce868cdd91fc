"""The rows that every store of these tests is filled with, and what is read of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from unembed.corpus.table import Table, corpus_of

ROWS, DIM = 5, 4
VECTORS = np.arange(ROWS * DIM, dtype=np.float32).reshape(ROWS, DIM) / 8 + 0.1
IDS = [f"row-{i}" for i in range(ROWS)]
TEXTS = [f"text {i}" for i in range(ROWS)]


def corpus_in(table: Table, column: str | None = None) -> tuple[Any, list[str | None] | None]:
    """The (N, D) vectors and the ids, read in batches that cross those of the store."""
    slices = list(corpus_of(table, column).batches(2))
    ids = None if slices[0].ids is None else [id_ for each in slices for id_ in each.ids or ()]
    return np.concatenate([each.embeddings for each in slices]), ids


def column_of(table: Table, name: str) -> list[Any]:
    return [value for batch in table.batches([name]) for value in batch.column(name).to_pylist()]
