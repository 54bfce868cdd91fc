"""Corpora in .npy and .npz files. Pickles are refused by what the header says, never loaded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
from numpy.lib import format as npy

from unembed.corpus.arrays import as_floats, dim_of, float_dtype, matrix_shape
from unembed.corpus.base import Chunk, Corpus, reading
from unembed.corpus.columns import IDS, choose_name
from unembed.corpus.digests import of_file
from unembed.corpus.ids import Ids, kept, text_of
from unembed.corpus.one_cell import Coding
from unembed.corpus.places import listed
from unembed.corpus.table import cost_of
from unembed.errors import CorpusError

_CHUNK_BYTES: Final = 8 * 1024 * 1024


class Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape[1:]))

    def as_matrix(self, cells: Coding | None, what: str) -> Header:
        """The same with the shape (N, D). Raises CorpusError for what are no vectors."""
        if self.dtype.hasobject:
            raise CorpusError(
                f"{what} has the dtype object: its values are pickled, and a pickle could run code when it is loaded. "
                "Save an array of floats instead"
            )
        float_dtype(self.dtype, cells, what)
        return self._replace(shape=matrix_shape(self.shape, what))


def read_npy(path: Path, what: str, cells: Coding | None = None) -> Corpus:
    """A .npy file of (N, D) numbers, mapped into memory: only what is used is read."""
    with reading(what), path.open("rb") as file:
        header = read_header(file, what).as_matrix(cells, what)
        offset, size = file.tell(), path.stat().st_size
    expected = offset + header.row_bytes * header.shape[0]
    if size < expected:
        raise CorpusError(
            f"{what} is cut short: it has {size} bytes, but its header promises {expected} "
            f"for the shape {header.shape} of {header.dtype.name}"
        )

    def chunks() -> Iterator[Chunk]:
        order: Any = "F" if header.fortran else "C"
        with reading(what):
            mapped = np.memmap(path, header.dtype, "r", offset, header.shape, order)
            step = rows if mapped.dtype == dtype else max(1, _CHUNK_BYTES // header.row_bytes)
            for start in range(0, rows, step):
                yield as_floats(mapped[start : start + step], cells, what), None

    (rows, columns), dtype = header.shape, float_dtype(header.dtype, cells, what)
    notes = cost_of(cells)
    return Corpus(what, rows, dim_of(columns, cells), dtype, chunks, lambda: of_file(path, cells or ""), notes)


def read_npz(path: Path, where: str, column: str | None, id_column: str | None, cells: Coding | None = None) -> Corpus:
    """An array of (N, D) numbers in a .npz archive, and the ids beside it; read in pieces, compressed or not."""
    with reading(where), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        headers = {name: _member_header(archive, name, f"{name!r} in {where}") for name in names}
        vectors = [name for name, header in headers.items() if len(header.shape) > 1]
        chosen = choose_name(column, names, vectors or (names if len(names) == 1 else []), where)
        what = f"{chosen!r} in {where}"
        header = headers[chosen].as_matrix(cells, what)
        (rows, columns), dtype = header.shape, float_dtype(header.dtype, cells, what)
        id_name, notes = _id_name(id_column, {name: headers[name] for name in names if name != chosen}, rows, where)
        ids = None if id_name is None else _member_ids(archive, id_name)

    def chunks() -> Iterator[Chunk]:
        with reading(where), zipfile.ZipFile(path) as archive, archive.open(f"{chosen}.npy") as file:
            read_header(file, what)
            for vectors, some in _streamed(file, header, ids, what):
                yield as_floats(vectors, cells, what), some

    notes += cost_of(cells)
    digest = partial(of_file, path, chosen, id_name or "", cells or "")
    return Corpus(where, rows, dim_of(columns, cells), dtype, chunks, digest, tuple(notes))


def read_header(file: IO[bytes], what: str) -> Header:
    """Reads up to the first value. Nothing is evaluated but the header's own literal of shape, order and dtype."""
    magic = file.read(npy.MAGIC_LEN)
    if magic[:1] == b"\x80":
        raise CorpusError(f"{what} is a pickle, which could run code when it is loaded: save it with numpy.save")
    if magic[:6] != npy.MAGIC_PREFIX or magic[6:7] not in (b"\1", b"\2"):
        raise CorpusError(f"{what} does not start like an .npy file: it starts with {magic!r}")
    read = npy.read_array_header_1_0 if magic[6] == 1 else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return Header(tuple(shape), bool(fortran), dtype)


def _member_header(archive: zipfile.ZipFile, name: str, what: str) -> Header:
    with archive.open(f"{name}.npy") as file:
        return read_header(file, what)


def _id_name(wanted: str | None, others: Mapping[str, Header], rows: int, what: str) -> tuple[str | None, list[str]]:
    """The array of ids: the wanted one, or one of a usual name; and what its owner should know of it."""
    if wanted == "":
        return None, []
    if wanted and wanted not in others:
        raise CorpusError(f"{what} has no column {wanted!r} for the ids; its columns are {listed(list(others))}")
    notes = list[str]()
    for name in [wanted] if wanted else [name for usual in IDS for name in others if name.lower() == usual]:
        header = others[name]
        if header.dtype.kind in "USiuf" and header.shape == (rows,):
            return name, [*notes, f"ids from {name!r}"]
        notes.append(
            f"{name!r} in {what} has the dtype {header.dtype} and the shape {header.shape}, "
            f"but ids are {rows} strings or numbers"
        )
    if wanted:
        raise CorpusError(notes[0])
    return None, notes


def _member_ids(archive: zipfile.ZipFile, name: str) -> Ids:
    with archive.open(f"{name}.npy") as file:
        header = read_header(file, name)
        return tuple(kept(text_of(value)) for value in np.frombuffer(file.read(), header.dtype).tolist())


def _streamed(file: IO[bytes], header: Header, ids: Ids | None, what: str) -> Iterator[Chunk]:
    rows, dim = header.shape
    # Column by column is how Fortran order lies in the file: no row is whole before the last byte.
    step = rows if header.fortran else max(1, _CHUNK_BYTES // header.row_bytes)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        data = file.read(count * header.row_bytes)
        if len(data) < count * header.row_bytes:
            got = start + len(data) // header.row_bytes
            raise CorpusError(f"{what} is cut short: it ends after {got} of {rows} rows")
        flat = np.frombuffer(data, header.dtype)
        vectors = flat.reshape((count, dim), order="F" if header.fortran else "C")
        yield vectors, None if ids is None else ids[start : start + count]
