"""Vectors of several parts as one array, which lies in memory while it is small and in a temporary file otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unembed.corpus.slices import Vectors
from unembed.corpus.spool import Spool, spool_folder
from unembed.errors import CorpusError

IN_MEMORY: Final = 256 * 1024**2  # bytes
_ROWS: Final = 65_536  # taken together

Mask = NDArray[np.bool_]


def usable(vectors: Vectors) -> Mask:
    """Whether each of (N, D) is a direction: finite, and not zero. (N,)"""
    parts = [np.isfinite(part).all(axis=1) & part.any(axis=1) for part in _pieces(vectors)]
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def stacked(parts: Iterable[tuple[Vectors, Mask | None]], most: int, dim: int, dtype: np.dtype[Any]) -> Vectors:
    """The rows (n, D) of all parts for which their masks are true, in order, in half precision or single.

    `most` is how many they may be. They are copied a part at a time: what is larger than `IN_MEMORY` goes to a file,
    and takes no memory of the process's own.
    """
    made = _room(most, dim, np.dtype(np.float16 if dtype == np.float16 else np.float32))
    count = 0
    with np.errstate(over="ignore"):
        for vectors, mask in parts:
            for start in range(0, len(vectors), _ROWS):
                part = vectors[start : start + _ROWS]
                part = part if mask is None else part[mask[start : start + _ROWS]]
                made[count : count + len(part)] = part
                count += len(part)
    return made[:count]


def joined(parts: list[Vectors]) -> Vectors:
    """All of the same D, one after the other; a single one as it is, and so a memory map as one."""
    if len(parts) == 1:
        return parts[0]
    dtype = np.result_type(*(part.dtype for part in parts))
    return stacked(((part, None) for part in parts), sum(map(len, parts)), parts[0].shape[1], dtype)


def picked(vectors: Vectors, mask: Mask) -> Vectors:
    """Those of (N, D) that the mask (N,) says; all of them without a copy."""
    if mask.all():
        return vectors
    return stacked([(vectors, mask)], int(mask.sum()), vectors.shape[1], vectors.dtype)


def _room(rows: int, dim: int, dtype: np.dtype[Any]) -> Vectors:
    nbytes = rows * dim * dtype.itemsize
    if nbytes <= IN_MEMORY:
        return np.empty((rows, dim), dtype)
    free = shutil.disk_usage(spool_folder()).free
    if free < nbytes:  # what is mapped cannot fail in any better way
        raise CorpusError(
            f"{rows:,} vectors of {dim} dimensions take a temporary file of {nbytes / 1e9:,.1f} GB, but "
            f"{spool_folder()} has {free / 1e9:,.1f} GB free: set TMPDIR to a folder with more room"
        )
    spool = Spool()
    made = np.memmap(spool.path, dtype, "w+", shape=(rows, dim))
    spool.remove()  # it stays there for as long as it is mapped; where it cannot be removed yet, until the process ends
    return made


def _pieces(vectors: Vectors) -> Iterator[Vectors]:
    for start in range(0, len(vectors), _ROWS):
        yield vectors[start : start + _ROWS]
