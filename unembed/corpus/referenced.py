"""Corpora by reference: cut by a file's footer alone, and read a batch at a time by whoever decodes it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from unembed.corpus.files import files_of
from unembed.corpus.formats import kind_of_name
from unembed.corpus.names import STDIN
from unembed.corpus.referenced_files import ReferencedTable, referenced_table
from unembed.corpus.slices import Slice, require_shape
from unembed.corpus.storage import FileChangedError, StoredFile, Version, open_file, reaching, version_of
from unembed.errors import CorpusError
from unembed.references import MOST_REFERENCES, BatchReference, CorpusFile, ReferencedBatch, ReferencedBatches
from unembed.roots import Location, Roots, as_uri, parse, without_links


@dataclass(frozen=True)
class ReferencedFile:
    """What a file's footer says of it."""

    file: CorpusFile
    dim: int
    groups: tuple[int, ...]  # the rows of each; a .npy file counts as one
    embedder: str | None = None  # whose vectors they are, where the file says it

    @property
    def rows(self) -> int:
        return sum(self.groups)


@dataclass(frozen=True)
class ReferencedCorpus:
    """Files that are read where they are, one after the other."""

    files: tuple[ReferencedFile, ...]

    @property
    def dim(self) -> int:
        return self.files[0].dim

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.files)

    @property
    def embedder(self) -> str | None:
        """As the first file that says it."""
        return next((each.embedder for each in self.files if each.embedder), None)

    @property
    def fingerprint(self) -> str:
        """A sha256 of where the files are and of their versions, not of their contents."""
        return hashlib.sha256("".join(each.file.model_dump_json() for each in self.files).encode()).hexdigest()

    def requests(self, batch_size: int) -> Iterator[ReferencedBatches]:
        """The batches of `batch_size` rows, or fewer at the end of a group, as many together as a request may have."""
        if batch_size < 1:
            raise CorpusError(f"the batch size is {batch_size}, but must be at least 1")
        ordinal = first_index = 0
        for each in self.files:
            batches = _batches(each, batch_size, ordinal, first_index)
            while some := tuple(islice(batches, MOST_REFERENCES)):
                yield ReferencedBatches(file=each.file, batches=some)
                ordinal += len(some)
            first_index += each.rows


def _batches(of: ReferencedFile, batch_size: int, ordinal: int, first_index: int) -> Iterator[ReferencedBatch]:
    has_groups = kind_of_name(of.file.uri).format != "npy"
    for group, count in enumerate(of.groups):
        at = group if has_groups else None
        for start in range(0, count, batch_size):
            rows = min(batch_size, count - start)
            yield ReferencedBatch(ordinal=ordinal, first_index=first_index, rows=rows, group=at, start=start)
            ordinal, first_index = ordinal + 1, first_index + rows


def open_reference(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    column: str | None = None,
    id_column: str | None = None,
) -> ReferencedCorpus:
    """What paths and URIs lead to, by the footers alone; a column of lists without a fixed length costs one row.

    A local folder or pattern stands for its files, as in `open_corpus`; a URI is one file. Raises CorpusError,
    RootsError for a URI that no server would take, and StorageUnavailableError.
    """
    named = [source] if isinstance(source, (str, os.PathLike)) else source
    files = tuple(_file_at(each, column, id_column) for each in files_of([os.fspath(each) for each in named], []))
    if other := next((each for each in files if each.dim != files[0].dim), None):
        raise CorpusError(
            f"{other.file.uri} has vectors of {other.dim} dimensions, but those of {files[0].file.uri} have "
            f"{files[0].dim}: submit them one after the other"
        )
    return ReferencedCorpus(files)


def _file_at(source: str, column: str | None, id_column: str | None) -> ReferencedFile:
    if source == STDIN:
        raise CorpusError("stdin cannot be read by reference: submit it without --by-reference, or name a file")
    location = parse(as_uri(source))
    stored = open_file(without_links(location))
    try:
        with reaching(location):
            table = referenced_table(stored, column, id_column)
            dim, groups = table.dim(), table.groups
        require_shape((sum(groups), dim), str(location))
    finally:
        stored.close()
    size, version = stored.version
    columns = table.columns
    file = CorpusFile(
        uri=str(location),
        size=size,
        version=version,
        column=None if columns is None else str(columns.vectors),
        id_column=None if columns is None else str(columns.ids or ""),
    )
    return ReferencedFile(file, dim, tuple(groups), table.embedder)


class ReferenceReader:
    """Reads batches by reference, in constant memory.

    The last file stays open: a batch that follows the last one in a row group of a parquet file, which has no other
    way in than from its start, goes on where that one ended.
    """

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._open: tuple[CorpusFile, StoredFile, ReferencedTable] | None = None

    def read(self, reference: BatchReference, rows: int, dim: int) -> Slice:
        """The `rows` vectors, and their ids; `dim` matters only where all of them are null.

        Raises RootsError, FileMissingError, FileChangedError, CorpusError and StorageUnavailableError.
        """
        location = self._roots.require(reference.uri)
        try:
            _expect_same(reference, version_of(location))
            with reaching(location):
                found = self._table_of(reference, location).read(reference.group, reference.start, rows, dim)
            _expect_same(reference, version_of(location))  # nobody wrote into it meanwhile
        except BaseException:
            self.close()
            raise
        return found

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _table_of(self, reference: BatchReference, location: Location) -> ReferencedTable:
        file = CorpusFile(**reference.model_dump(include=set(CorpusFile.model_fields)))
        if self._open is None or self._open[0] != file:
            self.close()
            stored = open_file(location)
            try:
                _expect_same(reference, stored.version)
                self._open = file, stored, referenced_table(stored, reference.column, reference.id_column)
            except BaseException:
                stored.close()
                raise
        return self._open[2]


def _expect_same(reference: BatchReference, found: Version) -> None:
    expected = Version(reference.size, reference.version)
    if found != expected:
        raise FileChangedError(
            f"{reference.uri} has changed since it was submitted: it had {expected.size} bytes and the version "
            f"{expected.version}, now it has {found.size} and {found.version}; submit it again"
        )
