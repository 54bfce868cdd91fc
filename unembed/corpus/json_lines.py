"""Corpora in .jsonl files: an object a line, its vector a list of numbers or the base64 of little-endian float32."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unembed.corpus.base import Chunk, Corpus, choose_column, choose_id_column, reading
from unembed.corpus.digests import of_file
from unembed.corpus.slices import as_id, require_shape
from unembed.corpus.vectors import length_error
from unembed.errors import CorpusError

_ROWS: Final = 1024
_FLOAT32: Final = np.dtype(np.float32)

Row = tuple[int, dict[str, Any]]  # its index among the rows, not among the lines: blank lines count for nothing


def read_json_lines(path: Path, column: str | None, id_column: str | None) -> Corpus:
    """JSON has one kind of number, so 1 is as good as 1.0; null, NaN and a vector that is null become NaN."""
    what = str(path)
    with reading(path):
        rows = sum(1 for _ in _lines(path))
        require_shape((rows, 1), what)
        _, first = next(_rows(path))
        keys = list(first)
        like_vectors = [key for key, value in first.items() if isinstance(value, (list, str))]
        name = choose_column(column, keys, like_vectors, what)
        id_name = choose_id_column(id_column, keys, what)
        dim = next((len(vector) for row in _rows(path) if (vector := _vector(row, name, what)) is not None), 0)
        require_shape((rows, dim), what)

    def chunks() -> Iterator[Chunk]:
        with reading(path):
            source = _rows(path)
            while group := list(islice(source, _ROWS)):
                vectors = np.stack([_sized(row, name, dim, what) for row in group])
                ids = None if id_name is None else tuple(as_id(row.get(id_name), i, what) for i, row in group)
                yield vectors, ids

    return Corpus(what, rows, dim, _FLOAT32, chunks, lambda: of_file(path, name, id_name or ""))


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line for line in file if not line.isspace())


def _rows(path: Path) -> Iterator[Row]:
    for index, line in enumerate(_lines(path)):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"row {index} of {path} is not JSON; the file may be cut short: {error}") from error
        if not isinstance(row, dict):
            raise CorpusError(f"row {index} of {path} is {_kind(row)}, but each line must be an object")
        yield index, row


def _sized(row: Row, name: str, dim: int, what: str) -> NDArray[np.float32]:
    vector = _vector(row, name, what)
    if vector is None:
        return np.full(dim, np.nan, _FLOAT32)
    if len(vector) != dim:
        raise length_error(what, row[0], len(vector), dim)
    return vector


def _vector(row: Row, name: str, what: str) -> NDArray[np.float32] | None:
    index, values = row
    if name not in values:
        raise CorpusError(f"row {index} of {what} has no {name!r}; it has {', '.join(map(repr, values)) or 'nothing'}")
    value = values[name]
    if value is None:
        return None
    if isinstance(value, str):
        return _from_base64(value, index, name, what)
    if not isinstance(value, list):
        raise CorpusError(f"{name!r} in row {index} of {what} is {_kind(value)}, but a vector is a list or base64")
    wrong = next((item for item in value if item is not None and type(item) not in (float, int)), None)
    if wrong is not None:
        raise CorpusError(f"{name!r} in row {index} of {what} has the value {wrong!r}, but embeddings are numbers")
    with np.errstate(over="ignore"):  # too large for float32 is infinity, and so an error row
        try:
            return np.array(value, _FLOAT32)
        except OverflowError:  # an integer too large even for a Python float
            return np.array([np.inf if type(item) is int and abs(item) > 2**128 else item for item in value], _FLOAT32)


def _from_base64(text: str, index: int, name: str, what: str) -> NDArray[np.float32]:
    try:
        data = base64.b64decode(text, validate=True)
        return np.frombuffer(data, "<f4").astype(_FLOAT32, copy=False)
    except (binascii.Error, ValueError) as error:
        raise CorpusError(
            f"{name!r} in row {index} of {what} is not base64 of little-endian float32: {error}"
        ) from error


def _kind(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
