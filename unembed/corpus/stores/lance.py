"""Lance tables, and those of LanceDB, which are Lance tables in a folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import lance
import pyarrow as pa

from unembed.corpus.stores.asked import ROWS, StoreRequest, line
from unembed.corpus.table import Table
from unembed.errors import CorpusError

_SUFFIX: Final = ".lance"
_AHEAD: Final = 64 * 1024 * 1024  # bytes read ahead; without a limit Lance takes 2 GB
_PLACE: Final = re.compile(r",? /\S+\.rs:[\d:]+")  # in Lance's source


def read(asked: StoreRequest) -> Table:
    """The newest version of a table, which stays as it is whatever is written later; nothing is copied."""
    place, what = (asked.place, asked.what) if "://" in asked.place else _local(asked)
    with _failing(what):
        table = lance.dataset(place)
        schema, rows = table.schema, int(table.count_rows())

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with _failing(what):
            yield from table.to_batches(
                columns=list(columns),
                batch_size=ROWS,
                batch_readahead=2,
                fragment_readahead=1,
                io_buffer_size=_AHEAD,
                scan_in_order=True,
            )

    return Table(what, schema, rows, batches, lambda: _digest(table, what))


def _local(asked: StoreRequest) -> tuple[str, str]:
    """A table, or one of a folder of tables. Raises CorpusError."""
    folder = asked.path("a Lance table, or a LanceDB folder")
    if asked.collection is None and (folder / "_versions").is_dir():
        return str(folder), asked.what
    tables = sorted(path.stem for path in folder.glob(f"*{_SUFFIX}") if path.is_dir())
    if not tables:
        raise CorpusError(f"{asked.what} is no Lance table and holds none; expected a folder NAME{_SUFFIX} in it")
    name = asked.required_collection(tables)
    return str(folder / f"{name}{_SUFFIX}"), asked.of(name)


def _digest(table: Any, what: str) -> str:
    """Of the names of its files, which are never written twice: no vector is read for it."""
    with _failing(what):
        files = [
            (file.path, str(fragment.metadata.deletion_file))
            for fragment in table.get_fragments()
            for file in fragment.data_files()
        ]
    return hashlib.sha256(repr((str(table.schema), files)).encode()).hexdigest()


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, RuntimeError) as error:
        raise CorpusError(f"{what} cannot be read: {_PLACE.sub('', line(error))}") from error
