"""A corpus: where its vectors come from, and how they are cut into batches."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from unembed.corpus.cells import BadRows
from unembed.corpus.ids import Ids
from unembed.corpus.slices import Slice, Vectors
from unembed.errors import CorpusError, UnembedError, first_line

if TYPE_CHECKING:
    from unembed.corpus.paths import Field
    from unembed.corpus.table import Table

Chunk = tuple[Vectors, Ids | None]  # (n, D) vectors and their n ids, as many rows as come easily


@dataclass(frozen=True)
class Corpus:
    """Vectors that can be read from the start as often as needed, a batch at a time."""

    what: str  # for messages: the file's name
    rows: int
    dim: int
    dtype: np.dtype[Any]  # float16, float32 or float64
    chunks: Callable[[], Iterator[Chunk]]
    digest: Callable[[], str]
    notes: tuple[str, ...] = ()  # what its owner should know: which columns were taken, what fell away
    bad: BadRows = field(default_factory=BadRows)  # of the last time that it was read
    table: Table | None = None  # the rows as they lie in its source; an array has none
    id_field: Field | None = None  # where its ids are in the table
    embedder: str | None = None  # whose vectors they are, where the source says it

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 that changes when the contents do; reads the whole corpus, hence only when asked for."""
        return self.digest()

    def batches(self, size: int) -> Iterator[Slice]:
        """Slices of `size` rows, the last one shorter; the same cuts whatever the file's own layout is."""
        return cut(self.chunks, size, self.bad)


def cut(chunks: Callable[[], Iterable[Chunk]], size: int, bad: BadRows) -> Iterator[Slice]:
    """Slices of `size` rows, the last one shorter, of chunks of any sizes; with why those of `bad` are."""
    if size < 1:
        raise CorpusError(f"the batch size is {size}, but must be at least 1")
    first, held, count = 0, list[Chunk](), 0
    for vectors, ids in chunks():
        start = 0
        while start < len(vectors):
            stop = min(len(vectors), start + size - count)
            held.append((vectors[start:stop], None if ids is None else ids[start:stop]))
            count, start = count + stop - start, stop
            if count == size:
                yield _joined(first, held, bad)
                first, held, count = first + count, [], 0
    if held:
        yield _joined(first, held, bad)


def _joined(first_index: int, held: Sequence[Chunk], bad: BadRows) -> Slice:
    vectors = held[0][0] if len(held) == 1 else np.concatenate([vectors for vectors, _ in held])
    joined = None
    if any(ids is not None for _, ids in held):
        joined = tuple(chain.from_iterable(ids or (None,) * len(rows) for rows, ids in held))
    return Slice(first_index, vectors, joined, bad.take(first_index, len(vectors)))


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Whatever the libraries raise over a bad file becomes a CorpusError that names the file, by path or as shown."""
    try:
        yield
    except FileNotFoundError as error:
        raise CorpusError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise CorpusError(f"{path} is a folder, but a file of embeddings is needed") from error
    except PermissionError as error:
        raise CorpusError(f"{path} may not be read: {error.strerror or error}") from error
    except (pa.ArrowException, OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CorpusError(f"{path} cannot be read; it may be damaged or cut short: {error}") from error


@contextmanager
def understood(source: object) -> Iterator[None]:
    """What libraries raise over something that nobody foresaw becomes a CorpusError that says what it was given."""
    try:
        yield
    except UnembedError:
        raise
    except (pa.ArrowException, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise CorpusError(f"a {type(source).__name__} cannot be read as a corpus: {said}") from error


def mapped(path: Path) -> Any:
    """The file in memory, for pyarrow, which takes names that are no UTF-8 as bytes only."""
    name: Any = os.fsencode(path)
    return pa.memory_map(name)
