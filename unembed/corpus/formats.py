"""The formats of files: their suffixes, and what tells them apart where a suffix does not."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from unembed.errors import CorpusError

SUFFIXES: Final[dict[str, tuple[str, ...]]] = {
    "parquet": (".parquet", ".pq", ".parq"),
    "arrow": (".arrow", ".feather", ".ipc", ".arrows"),
    "jsonl": (".jsonl", ".ndjson", ".jsonlines"),
    "json": (".json",),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "npy": (".npy",),
    "npz": (".npz",),
    "safetensors": (".safetensors",),
    "fvecs": (".fvecs",),
    "bvecs": (".bvecs",),
    "fbin": (".fbin",),
    "u8bin": (".u8bin",),
    "i8bin": (".i8bin",),
}
COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
KNOWN: Final = ", ".join(suffixes[0] for suffixes in SUFFIXES.values())  # for messages: each by its usual suffix

_OF_SUFFIX: Final = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}
_HEAD: Final = 512  # bytes in which the beginning of a file tells what it is
_LINE: Final = 1024 * 1024  # bytes within which a line of JSON should end
_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
_NUMBERS: Final = ("fvecs", "bvecs", "fbin", "u8bin", "i8bin")  # begin with one, which may look like anything
_HAVE_NO_MAGIC: Final = ("csv", "tsv", *_NUMBERS)

_PICKLE: Final = "is a pickle, which could run code when it is loaded: save the vectors with numpy.save instead"
_MAGIC: Final = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),  # a stream
    (b"\x93NUMPY", "npy"),
)
_PACKED: Final = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
)
_REFUSED: Final = (
    (
        b"FEA1",
        "is a Feather file of version 1: write it again with pyarrow.feather.write_feather, which writes version 2",
    ),
    (b"PARE", "is an encrypted parquet file: decrypt it first"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file: save the array in it with numpy.save"),
    (b"SQLite format 3\0", "is an SQLite database, not a file of vectors: read it with sqlite:FILE and --query"),
    (b"IxF", "is a FAISS index: read it with faiss:FILE"),
    (b"IxM", "is a FAISS index: read it with faiss:FILE"),
    (b"Obj\x01", "is an Avro file: write it as parquet"),
    (b"ORC", "is an ORC file: write it as parquet"),
)


@dataclass(frozen=True)
class NamedFormat:
    """What a file's name says it is."""

    format: str | None  # a key of SUFFIXES
    compression: str | None  # a value of COMPRESSIONS


def kind_of_name(name: str) -> NamedFormat:
    """By its suffixes, in any case: `A.JSONL.GZ` has two."""
    stem, last = _split(name)
    compression = COMPRESSIONS.get(last)
    return NamedFormat(_OF_SUFFIX.get(_split(stem)[1] if compression else last), compression)


def without_compression(name: str) -> str:
    stem, last = _split(name)
    return stem if last in COMPRESSIONS else name


def compression_of(path: Path, name: str) -> str | None:
    """By its first bytes, whatever it is called; but a file of bare numbers may begin like anything."""
    kind = kind_of_name(name)
    if kind.format in _NUMBERS and not kind.compression:
        return None
    with path.open("rb") as file:
        return _starting(file.read(_HEAD), _PACKED)


def format_of(path: Path, name: str, what: str, wanted: str | None = None) -> str:
    """The format of a file called `name`: the wanted one; else by its bytes, where they say; else by its suffix.

    Raises CorpusError for what is no file of vectors, and says what it is.
    """
    if wanted is not None:
        return wanted
    by_name = kind_of_name(name).format
    if by_name in _NUMBERS and path.stat().st_size:
        return str(by_name)
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(0)
        found = _of_bytes(head, path, what) or (_of_text(file, by_name, name) if head else None)
    if found is None:
        _refuse(name, what, empty=not head, known=by_name)
    return found or str(by_name)


def _refuse(name: str, what: str, *, empty: bool, known: str | None) -> None:
    if empty:
        raise CorpusError(f"{what} is empty: it has 0 bytes, and so 0 rows")
    if known is None:
        raise CorpusError(
            f"{what} has the suffix {_split(name)[1]!r}, and its contents are none that is known; a corpus is one of "
            f"{KNOWN}. Name its format with --input-format"
        )


def _of_bytes(head: bytes, path: Path, what: str) -> str | None:
    if refused := _starting(head, _REFUSED):
        raise CorpusError(f"{what} {refused}")
    if _is_safetensors(head, path):  # before the pickles: the length of its header comes first
        return "safetensors"
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        raise CorpusError(f"{what} {_PICKLE}")
    if head[257:262] == b"ustar":
        raise CorpusError(f"{what} is a tar archive: unpack it, and name the folder")
    if head[8:12] == b"DUCK":
        raise CorpusError(f"{what} is a DuckDB database, not a file of vectors: read it with duckdb:FILE and --query")
    if head.startswith(b"PK\3\4"):
        return _of_archive(path, what)
    return _starting(head, _MAGIC)


def _of_archive(path: Path, what: str) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return None  # its reader says that it is cut short
    if any(name.endswith("data.pkl") for name in names):
        raise CorpusError(
            f"{what} was written by torch.save: it holds a pickle, which could run code when it is loaded. Save "
            "its tensor for us: numpy.save('corpus.npy', torch.load(FILE, weights_only=True).float().numpy())"
        )
    if not any(name.endswith(".npy") for name in names):
        raise CorpusError(f"{what} is a zip archive: unpack it, and name the folder")
    return "npz"


def _is_safetensors(head: bytes, path: Path) -> bool:
    if len(head) < 10 or head[8:9] != b"{":
        return False
    (length,) = struct.unpack("<Q", head[:8])
    return bool(2 <= length <= path.stat().st_size - 8)


def _of_text(file: IO[bytes], by_name: str | None, name: str) -> str | None:
    """JSON, by how it begins; and commas and tabs in what has no suffix at all."""
    if by_name in _HAVE_NO_MAGIC:
        return None
    line = next((line for line in _lines(file) if line.strip(_BLANK)), b"").strip(_BLANK)
    if by_name == "jsonl":
        return "json" if line in (b"[", b"{") or isinstance(_first_of(line), (dict, list)) else None
    if line[:1] in (b"{", b"["):
        is_row = _value_of(line) is not None and any(not more.isspace() for more in _lines(file))
        return "jsonl" if is_row else "json"
    if by_name is None and not _split(name)[1] and _is_printable(line):
        return "tsv" if b"\t" in line else "csv" if b"," in line else None
    return None


def _value_of(line: bytes) -> object:
    """The value of a line that is a JSON document by itself; None for any other."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _first_of(line: bytes) -> object:
    """The first item of a line that is a list."""
    value = _value_of(line) if line[:1] == b"[" else None
    return value[0] if isinstance(value, list) and value else None


def _is_printable(line: bytes) -> bool:
    try:
        return line.decode("utf-8").strip("\ufeff\r\n").replace("\t", "").isprintable()
    except UnicodeDecodeError:
        return False


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_LINE):
        yield line


def _starting(head: bytes, known: tuple[tuple[bytes, str], ...]) -> str | None:
    return next((found for magic, found in known if head.startswith(magic)), None)


def _split(name: str) -> tuple[str, str]:
    """The name without its last suffix, and that suffix in lower case; '' where it has none."""
    base = name.rpartition("/")[2]
    dot = base.rfind(".")
    return (name, "") if dot <= 0 else (name[: len(name) - len(base) + dot], base[dot:].lower())
