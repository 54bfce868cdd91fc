"""Rows of results, as they come, into whatever they go to."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import IO, Any, Final

import pyarrow as pa

from unembed.boundary import reason_of
from unembed.errors import InputError, OutputError
from unembed.generations import SCHEMA, begins_with_schema
from unembed.results.arrow import write_arrow_file, write_arrow_stream
from unembed.results.destination import STDOUT, Destination, Sink, destination_of
from unembed.results.json_lines import write_json_lines
from unembed.results.layout import Layout
from unembed.results.made_by import MadeBy, with_made_by
from unembed.results.parquet import write_parquet
from unembed.results.parts import write_parts
from unembed.results.separated import write_csv, write_tsv
from unembed.results.whole import whole_file

Writer = Callable[[IO[bytes], pa.Schema, Iterator[pa.RecordBatch]], None]

_WRITERS: Final[dict[str, Writer]] = {
    "parquet": write_parquet,
    "arrow": write_arrow_file,
    "jsonl": write_json_lines,
    "csv": write_csv,
    "tsv": write_tsv,
}


def write_results(
    path: str | os.PathLike[str] | Destination,
    batches: Iterable[pa.RecordBatch],
    *,
    made_by: MadeBy | None = None,
    layout: Layout | None = None,
) -> int:
    """Writes rows as they come, such as those of `JobHandle.result_batches()`, and returns how many they were.

    A few thousand rows are in memory at a time. `made_by`, such as `JobHandle.made_by()`, is kept in the metadata of
    parquet and Arrow; `layout` says which other columns there are, in place of those that the job carries. Raises
    InputError for what is no record batch of results, and OutputError for what the system refuses. BrokenPipeError:
    whoever read the stream has had enough.
    """
    to = path if isinstance(path, Destination) else destination_of(path)
    counted = _Counted(batches)
    if layout is None:
        first, rows = _with_first(counted)
        schema = with_made_by(SCHEMA if first is None else first.schema, made_by)
    else:
        schema, rows = with_made_by(layout.schema, made_by), layout.of(counted)
    with _writing(to):
        if to.sink is Sink.FOLDER:
            write_parts(to.path, to.suffix, writer_of(to), schema, rows, made_by)
        elif to.sink is Sink.STREAM:
            with _stream(to) as file:
                writer_of(to)(file, schema, rows)
        else:
            with whole_file(to.path) as file:
                writer_of(to)(file, schema, rows)
    return counted.rows


def require_writable(to: Destination, layout: Layout) -> None:
    """Raises InputError for columns of a type that the format does not have; to be called before the work."""
    with _writing(to):
        writer_of(to)(io.BytesIO(), layout.schema, iter(()))


def writer_of(to: Destination) -> Writer:
    """What writes its format, compressed as it says."""
    write = write_arrow_stream if to.format == "arrow" and to.is_arrow_stream else _WRITERS[to.format]

    def packed(file: IO[bytes], schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        with _compressed(file, to.compression) as sink:
            write(sink, schema, batches)

    return packed if to.compression else write


class _Counted:
    """The batches as they pass, and how many rows have."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            if not isinstance(batch, pa.RecordBatch) or not begins_with_schema(batch.schema):
                raise InputError(
                    f"got a {type(batch).__name__}; expected record batches of results, such as job.result_batches() "
                    "yields"
                )
            yield batch
            self.rows += batch.num_rows


def _with_first(batches: Iterable[pa.RecordBatch]) -> tuple[pa.RecordBatch | None, Iterator[pa.RecordBatch]]:
    """The first batch, which says what columns there are, and all of them."""
    coming = iter(batches)
    first = next(coming, None)
    return first, coming if first is None else chain([first], coming)


@contextmanager
def _writing(to: Destination) -> Iterator[None]:
    """What the system refuses, as an error that says so and carries its number."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError.of(f"{to} cannot be written: {reason_of(error)}", error.errno) from error
    except pa.ArrowNotImplementedError as error:
        raise InputError(f"{to} cannot be written as {to.format}, which has no such type: {error}") from error
    except pa.ArrowInvalid as error:
        raise InputError(f"{to} cannot be written as {to.format}: {error}") from error


@contextmanager
def _stream(to: Destination) -> Iterator[IO[bytes]]:
    if to.name != STDOUT:
        with to.path.open("wb") as file:
            yield file
        return
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError):  # something else stands for it
        yield sys.stdout.buffer
        return
    # Its own buffer may be none, with PYTHONUNBUFFERED: then a pipe takes only a part of what is written.
    with open(number, "wb", closefd=False) as file:
        yield file


class _StaysOpen(io.RawIOBase):
    """A file that whoever it is lent to may close, and that is open afterwards."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)


@contextmanager
def _compressed(file: IO[bytes], compression: str | None) -> Iterator[Any]:
    match compression:
        case "gzip":
            packed: Any = gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0)
        case "bz2":
            packed = bz2.BZ2File(file, "wb")
        case "xz":
            import lzma  # not every build of Python has it

            packed = lzma.LZMAFile(file, "wb")  # noqa: SIM115 - closed below
        case _:
            sink: Any = _StaysOpen(file)
            packed = pa.CompressedOutputStream(sink, "zstd")
    with packed:
        yield packed
