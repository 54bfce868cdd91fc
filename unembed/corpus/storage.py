"""Files at a URI: opened, and known again by their size and version. Local ones, and those that fsspec reaches."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

import pyarrow as pa

from unembed.codes import FailureCode
from unembed.errors import CorpusError, MissingExtraError, StorageUnavailableError
from unembed.roots import Location

_TAIL: Final = 64 * 1024  # bytes; a parquet or Arrow file has its footer there
_ETAGS: Final = ("ETag", "etag", "generation", "md5Hash", "mtime", "LastModified", "updated", "created")
_PACKAGES: Final = {"s3": "s3fs", "gs": "gcsfs", "https": "aiohttp"}


class FileMissingError(CorpusError):
    """The file that a batch refers to is not there."""

    code = FailureCode.FILE_MISSING


class FileChangedError(CorpusError):
    """The file that a batch refers to is not the one that was submitted."""

    code = FailureCode.FILE_CHANGED


class Version(NamedTuple):
    """What tells one content of a file from another."""

    size: int  # bytes
    version: str


@dataclass(frozen=True)
class StoredFile:
    """An open file."""

    location: Location
    version: Version
    file: IO[bytes]

    def mapped(self) -> Any:
        """For pyarrow: a local file in memory, without a copy; another one as it is read."""
        if not self.location.is_local:
            return pa.PythonFile(cast(Any, self.file), mode="r")
        return pa.BufferReader(pa.py_buffer(mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)))

    def close(self) -> None:
        self.file.close()


def open_file(location: Location) -> StoredFile:
    """Raises FileMissingError, CorpusError for what is no file, and StorageUnavailableError."""
    with reaching(location):
        if location.is_local:
            return _open_local(location)
        filesystem, path = filesystem_of(location)
        return StoredFile(location, version_of(location), filesystem.open(path, "rb"))


def version_of(location: Location) -> Version:
    """As `open_file`, without opening the file for longer."""
    with reaching(location):
        if location.is_local:
            return _version(Path(location.path).stat(), location)
        filesystem, path = filesystem_of(location)
        filesystem.invalidate_cache()
        found = filesystem.info(path)
        if found.get("type") != "file" or not isinstance(found.get("size"), int):
            raise CorpusError(f"{location} is no file whose size is known; its storage says {found.get('type')!r}")
        size = int(found["size"])
        etag = next((str(found[key]) for key in _ETAGS if found.get(key)), None)
        if etag is None:
            tail = filesystem.cat_file(path, start=max(0, size - _TAIL), end=size)
            return Version(size, f"tail:{hashlib.sha256(tail).hexdigest()}")
        return Version(size, f"etag:{etag.strip(chr(34))}"[:200])


@contextmanager
def reaching(location: Location) -> Iterator[None]:
    """What the libraries raise over a file becomes an error that names it, and says whether trying again may help."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileMissingError(f"{location} does not exist, or not on this machine") from error
    except ImportError as error:
        package = _PACKAGES.get(location.scheme, "fsspec")
        raise MissingExtraError(
            f"{location} needs the package {package!r}, which is not installed: pip install 'unembed[remote]'"
        ) from error
    except (pa.ArrowInvalid, ValueError, EOFError) as error:
        raise CorpusError(f"{location} cannot be read; it may be damaged or cut short: {error}") from error
    except (OSError, pa.ArrowException) as error:
        raise StorageUnavailableError(f"{location} cannot be reached: {error}") from error


def _open_local(location: Location) -> StoredFile:
    # Without waiting for the writer of a pipe, and without following a link that was put there after it was checked.
    descriptor = os.open(location.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        version = _version(os.fstat(descriptor), location)
        return StoredFile(location, version, os.fdopen(descriptor, "rb"))
    except BaseException:
        os.close(descriptor)
        raise


def _version(found: os.stat_result, location: Location) -> Version:
    if not stat.S_ISREG(found.st_mode):
        raise CorpusError(f"{location} is no plain file; expected a .parquet, .arrow, .feather or .npy file")
    return Version(found.st_size, f"mtime:{found.st_mtime_ns}")


def filesystem_of(location: Location) -> tuple[Any, str]:
    """fsspec's file system, and the path in it."""
    from fsspec.core import url_to_fs

    # A site that is allowed does not lead to one that is not.
    options = {"allow_redirects": False} if location.scheme == "https" else {}
    filesystem, path = url_to_fs(str(location), **options)
    return filesystem, path
