"""Corpora in .npy and .npz files. Pickles are refused by what the header says, never loaded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
from numpy.lib import format as npy

from unembed.corpus.base import Chunk, Corpus, choose_column, choose_id_column, reading
from unembed.corpus.digests import of_file
from unembed.corpus.slices import as_ids, require_floats, require_shape
from unembed.errors import CorpusError

_CHUNK_BYTES: Final = 8 * 1024 * 1024


class Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape[1:]))


def read_npy(path: Path) -> Corpus:
    """A .npy file of (N, D) floats, mapped into memory: only what is used is read."""
    with reading(path), path.open("rb") as file:
        header = read_header(file, str(path))
        require_header(header, str(path))
        offset, size = file.tell(), path.stat().st_size
    expected = offset + header.row_bytes * header.shape[0]
    if size < expected:
        raise CorpusError(
            f"{path} is cut short: it has {size} bytes, but its header promises {expected} "
            f"for the shape {header.shape} of {header.dtype.name}"
        )

    def chunks() -> Iterator[Chunk]:
        order: Any = "F" if header.fortran else "C"
        with reading(path):
            yield np.memmap(path, header.dtype, "r", offset, header.shape, order), None

    rows, dim = header.shape
    return Corpus(str(path), rows, dim, header.dtype, chunks, lambda: of_file(path))


def read_npz(path: Path, column: str | None, id_column: str | None) -> Corpus:
    """An array of (N, D) floats in a .npz archive, and the array `id` beside it; read in pieces, compressed or not."""
    with reading(path), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        headers = {name: _member_header(archive, name, f"{name!r} in {path}") for name in names}
        vectors = [name for name, header in headers.items() if len(header.shape) == 2]
        if column is None and not id_column and names == vectors and len(names) == 1:
            chosen = names[0]  # np.savez calls it arr_0 when it is given no name
        else:
            chosen = choose_column(column, names, vectors, str(path))
        what = f"{chosen!r} in {path}"
        header = headers[chosen]
        require_header(header, what)
        id_name = choose_id_column(id_column, names, str(path))
        ids = None if id_name is None else _member_ids(archive, id_name, header.shape[0], str(path))

    def chunks() -> Iterator[Chunk]:
        with reading(path), zipfile.ZipFile(path) as archive, archive.open(f"{chosen}.npy") as file:
            read_header(file, what)
            yield from _streamed(file, header, ids, what)

    rows, dim = header.shape
    return Corpus(str(path), rows, dim, header.dtype, chunks, lambda: of_file(path, chosen, id_name or ""))


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


def require_header(header: Header, what: str) -> None:
    if header.dtype.hasobject:
        raise CorpusError(
            f"{what} has the dtype object: its values are pickled, and a pickle could run code when it is loaded. "
            "Save an array of floats instead"
        )
    require_floats(header.dtype, what)
    require_shape(header.shape, what)


def _member_header(archive: zipfile.ZipFile, name: str, what: str) -> Header:
    with archive.open(f"{name}.npy") as file:
        return read_header(file, what)


def _member_ids(archive: zipfile.ZipFile, name: str, rows: int, what: str) -> Sequence[str]:
    with archive.open(f"{name}.npy") as file:
        header = read_header(file, f"{name!r} in {what}")
        if header.dtype.kind not in "Uiu" or len(header.shape) != 1:
            raise CorpusError(
                f"{name!r} in {what} has the dtype {header.dtype} and the shape {header.shape}, "
                f"but ids are {rows} strings or integers"
            )
        values = np.frombuffer(file.read(), header.dtype)
    return as_ids(values.tolist(), rows, what)


def _streamed(file: IO[bytes], header: Header, ids: Sequence[str] | None, what: str) -> Iterator[Chunk]:
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
        yield vectors, None if ids is None else tuple(ids[start : start + count])
