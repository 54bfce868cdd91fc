"""Files that are compressed, as bytes that are not."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from unembed.corpus.base import mapped
from unembed.errors import CorpusError, UnembedError


@contextmanager
def unpacked(path: Path, compression: str, what: str) -> Iterator[Any]:
    """What to read the contents from. Raises CorpusError for a file that is damaged or cut short."""
    try:
        with _open(path, compression) as file:
            yield file
    except UnembedError:
        raise
    except Exception as error:  # every one of these libraries has its own
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system
        raise CorpusError(
            f"{what} cannot be unpacked ({compression}); it may be damaged or cut short: {error}"
        ) from error


def _open(path: Path, compression: str) -> Any:
    match compression:
        case "gzip":
            return gzip.open(path, "rb")
        case "bz2":
            return bz2.open(path, "rb")
        case "xz":
            import lzma  # not every build of Python has it

            return lzma.open(path, "rb")
    return pa.CompressedInputStream(mapped(path), "zstd")
