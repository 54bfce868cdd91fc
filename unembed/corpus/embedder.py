"""What a corpus says of whose vectors it holds.

`unembed embed` writes it into the metadata of its files; the answers of OpenAI's API, and of the servers that have the
same, name their model beside the vectors; and some tables have a column of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from unembed.corpus.json_text import is_json, values_of
from unembed.corpus.paths import Field, is_text, parse, type_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unembed.corpus.places import Wide
    from unembed.corpus.table import Table

METADATA: Final = b"unembed.embedder"  # of a Parquet or Arrow schema
_COLUMNS: Final = ("embedding_model", "embedder")
_OF_ANSWERS: Final = "model"
_ANSWER: Final = "data"  # what holds the vectors in an answer of OpenAI's API


def embedder_of(table: Table, vectors: Field | Wide) -> str | None:
    """As the table names it; None where it does not. Reads a few of its first rows, if that."""
    if named := embedder_in(table.schema):
        return named
    for field in _places(table, vectors):
        batch = next(table.batches([field.column]), None)
        cells = [] if batch is None else values_of(field.of(batch.slice(0, 64)))
        if said := next((cell for cell in cells if isinstance(cell, str) and cell.strip()), None):
            return said.strip()
    return None


def embedder_in(schema: Any) -> str | None:
    """As the metadata of a Parquet or Arrow schema name it."""
    named = (schema.metadata or {}).get(METADATA, b"")
    return str(named.decode("utf-8", "replace")) or None


def _places(table: Table, vectors: Field | Wide) -> Iterator[Field]:
    names = table.schema.names
    paths: list[str] = [name for name in _COLUMNS if name in names]
    steps = str(vectors).split(".") if isinstance(vectors, Field) else []
    if _ANSWER in steps:
        paths.append(".".join([*steps[: steps.index(_ANSWER)], _OF_ANSWERS]))
    for path in paths:
        field = parse(path, names)
        kind = None if field is None else type_at(table.schema.field(field.column).type, field.steps)
        if field is not None and kind is not None and (is_text(kind) or is_json(kind)):
            yield field
