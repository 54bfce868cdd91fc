"""Texts of a source: the lines of a file, or a column that is named or found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from unembed.corpus.base import reading
from unembed.corpus.columns import CANDIDATES, IDS
from unembed.corpus.json_text import is_json, loaded, values_of
from unembed.corpus.local_files import local_files
from unembed.corpus.named import Named
from unembed.corpus.paths import Field, bare_type, is_text, parse, type_at
from unembed.corpus.places import listed, places
from unembed.corpus.spool import Progress
from unembed.errors import CorpusError, InputError

if TYPE_CHECKING:
    from unembed.corpus.table import Table

TEXTS: Final = (
    *("text", "texts", "sentence", "sentences", "document", "documents", "content", "contents", "page_content"),
    *("chunk", "chunk_text", "passage", "body", "message", "description", "caption", "question", "title"),
)
_LOOKED_AT: Final = 100  # rows that show what a column of JSON or of text holds


def lines_of(named: Named, progress: Progress = lambda _what, _done, _total: None) -> list[str]:
    """The lines of a UTF-8 file, empty ones too; a line ends where Python and most tools end it: CR, LF or both.

    Raises CorpusError.
    """
    (file, *others) = local_files([named.source], progress, [])
    if others:
        raise CorpusError(f"{named.what} is {len(others) + 1} files; expected one file of texts")
    with reading(file.what):
        try:
            with file.path.open(encoding="utf-8-sig") as source:
                return [line.rstrip("\n") for line in source]
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{file.what} is no UTF-8 text (byte {error.start} is {error.object[error.start]:#04x}); expected one "
                "text a line, or a file with columns under a name that ends accordingly, such as .parquet"
            ) from None


def read_texts(path: Path) -> list[str]:
    """The lines of a UTF-8 file, one text a line. Raises InputError for an empty one, which would shift the others."""
    lines = lines_of(Named(os.fspath(path)))
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise InputError(f"{path}, line {number} is empty; expected one text per line")
    return lines


def text_field(table: Table, path: str | None) -> Field:
    """The place of the texts: the one that is named, or the one that looks most like texts. Raises CorpusError."""
    names = table.schema.names
    if path:
        place = parse(path, names)
        if place is None or type_at(table.schema.field(place.column).type, place.steps) is None:
            raise CorpusError(f"{table.what} has no column {path!r} for the texts; its columns are {listed(names)}")
        return place
    for tier in _tiers(table):
        if tier:
            return tier[0]
    raise CorpusError(
        f"{table.what} has no column of texts that could be found; its columns are {listed(names)}. Name it after the "
        "source: SOURCE:TEXT_COLUMN"
    )


def texts_at(table: Table, place: Field) -> Iterator[str | None]:
    """One for each row, without line breaks; None where there is none."""
    for batch in table.batches([place.column]):
        for value in values_of(place.of(batch)):
            yield " ".join(value.splitlines()).strip() if isinstance(value, str) else None


def _tiers(table: Table) -> Iterator[list[Field]]:
    """Columns of usual names; fields of such names; fields of JSON texts, as stores keep them; the only other one."""
    schema = table.schema
    top = [Field(name) for name in schema.names]
    yield [place for usual in TEXTS for place in top if place.column.lower() == usual and _is_of_texts(table, place)]
    inner = [field for each in schema for field, _ in places(Field(each.name), each.type) if field.steps]
    yield [place for usual in TEXTS for place in inner if place.last.lower() == usual and _is_of_texts(table, place)]
    keys = [Field(place.column, (key,)) for place in top for key in _keys(table, place)]
    yield [place for usual in TEXTS for place in keys if place.last.lower() == usual]
    others = [place for place in top if place.column.lower() not in (*CANDIDATES, *IDS) and _is_of_texts(table, place)]
    yield others if len(others) == 1 else []


def _is_of_texts(table: Table, place: Field) -> bool:
    kind = type_at(table.schema.field(place.column).type, place.steps)
    if kind is None or not (is_text(bare_type(kind)) or is_json(kind)):
        return False
    return any(isinstance(value, str) for value in _first_values(table, place))


def _keys(table: Table, place: Field) -> list[str]:
    """Of the first JSON object in a column of JSON, or of texts that are JSON."""
    kind = bare_type(table.schema.field(place.column).type)
    if not (is_text(kind) or is_json(kind)):
        return []
    for value in _first_values(table, place):
        found = loaded(value) if isinstance(value, str) and value.startswith("{") else value
        if isinstance(found, dict):
            return [key for key, inner in found.items() if isinstance(inner, str)]
        if found is not None:
            return []
    return []


def _first_values(table: Table, place: Field) -> list[Any]:
    batch = next(table.batches([place.column]), None)
    return [] if batch is None else list(values_of(place.of(batch.slice(0, _LOOKED_AT))))
