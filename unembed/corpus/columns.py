"""Which column of a table is what: named by its owner, or found by its name and its type.

Vectors are looked for in this order; two that are as good as each other are for their owner to choose from.

    embedding, vector, values, ...      a column of a usual name that holds vectors
    response.body.data.0.embedding      a field that does, and has or lies in one of a usual name
    embedding: "[0.1, ...]"             a column or field of a usual name that holds vectors as text or bytes
    ada_v2: list<float>                 the only column or field of lists of floats, whatever its name
    dim_0, dim_1, ... dim_383           a column for each dimension
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pyarrow as pa

from unembed.corpus.cells import holds_floats, is_vector_type
from unembed.corpus.ids import EXPECTED, is_id_type
from unembed.corpus.json_text import values_of
from unembed.corpus.one_cell import CellError, vector_of
from unembed.corpus.paths import Field, is_list, parse, type_at
from unembed.corpus.places import Wide, listed, may_be_text, places, wide_columns
from unembed.errors import CorpusError

CANDIDATES: Final = (
    "embedding",
    "embeddings",
    "emb",
    "vector",
    "vectors",
    "values",
    "dense",
    "dense_vector",
    "features",
)
IDS: Final = (
    *("custom_id", "id", "_id", "ids", "doc_id", "document_id", "uuid", "pk", "key", "_key"),
    *("point_id", "chunk_id", "item_id", "record_id", "row_id"),
    "__index_level_0__",  # what pandas calls an index without a name
)
_OPENAI: Final = ("response.body.data.0.embedding", "body.data.0.embedding", "data.0.embedding")
_LOOKED_AT: Final = 8  # cells of text that show whether they are vectors

Peek: TypeAlias = Callable[[Sequence[str]], "pa.RecordBatch | None"]  # the first rows of some columns, if they can be


@dataclass(frozen=True)
class Columns:
    """What is read of a table."""

    vectors: Field | Wide
    ids: Field | None
    notes: tuple[str, ...] = ()  # what was chosen, and what else there was

    @property
    def of_vectors(self) -> list[str]:
        """The columns at the top that the vectors are read from."""
        return list(self.vectors.columns) if isinstance(self.vectors, Wide) else [self.vectors.column]

    @property
    def names(self) -> list[str]:
        """The columns at the top that have to be read."""
        names = self.of_vectors
        if self.ids is not None and self.ids.column not in names:
            names.append(self.ids.column)
        return names

    def type_in(self, schema: Any) -> Any:
        """The type of the vectors."""
        if isinstance(self.vectors, Wide):
            return pa.list_(pa.float32(), len(self.vectors.columns))
        return type_at(schema.field(self.vectors.column).type, self.vectors.steps)


def choose_columns(
    schema: Any, column: str | None, id_column: str | None, what: str, peek: Peek = lambda _: None
) -> Columns:
    """The columns of vectors and of ids, by their names or found; `peek` shows whether text holds vectors.

    Raises CorpusError when they are not there, or cannot be told.
    """
    found = _Finder(schema, what, peek)
    vectors = found.named(column) if column is not None else found.vectors()
    ids, notes = found.ids(id_column, vectors)
    return Columns(vectors, ids, (found.choice(vectors, ids), *notes))


def has_vectors(schema: Any, what: str, peek: Peek = lambda _: None) -> bool:
    """Whether there is a column that might be taken for vectors: a table of texts has none."""
    return _Finder(schema, what, peek).any_vectors()


class _Finder:
    """One table's columns, looked at."""

    def __init__(self, schema: Any, what: str, peek: Peek) -> None:
        self._schema, self._what, self._peek = schema, what, peek
        self._places = [(field, kind) for each in schema for field, kind in places(Field(each.name), each.type)]
        self._vectors = [field for field, kind in self._places if is_vector_type(kind)]
        self._floats = [field for field, kind in self._places if holds_floats(kind)]
        self._maybe = [field for field, kind in self._places if not is_vector_type(kind) and _usual(field.last)]

    def named(self, path: str) -> Field | Wide:
        """The place of this name, if vectors may be there."""
        schema, what = self._schema, self._what
        place = parse(path, schema.names)
        if place is None:
            wide = next((each for each in wide_columns(schema, fewest=1) if str(each) == path), None)
            if wide is not None:
                return wide
            raise CorpusError(f"{what} has no column {path!r}; its columns are {listed(schema.names)}{self._within()}")
        kind = type_at(schema.field(place.column).type, place.steps)
        if kind is None:
            there = [str(field) for field, _ in self._places if field.column == place.column]
            raise CorpusError(f"{what} has a column {place.column!r}, but nothing at {path!r}: it has {listed(there)}")
        if is_vector_type(kind) or may_be_text(kind) or is_list(kind) or pa.types.is_null(kind):
            return place
        if pa.types.is_struct(kind):
            inside = [each for each in self._vectors if str(each).startswith(f"{place}.")]
            if len(inside) == 1:
                return inside[0]
            if kind.num_fields == 1:
                return place
            fields = listed(inside) if inside else f"{kind}, of which none holds vectors"
            raise CorpusError(f"{path!r} in {what} has fields of its own: name one of {fields}")
        raise CorpusError(
            f"the column {path!r} of {what} is {kind}, but embeddings are lists of numbers, or text or bytes of them"
        )

    def vectors(self) -> Field | Wide:
        """The place that looks most like vectors."""
        top = [field for field in self._vectors if not field.steps and _usual(field.column)]
        inner = [field for field in self._vectors if field.steps and any(map(_usual, (field.column, *field.steps)))]
        seen = [field for field in self._maybe if self._is_vector(field)]
        for tier in (top, inner, seen):
            if tier:
                return self._only(tier)
        if (wide := wide_columns(self._schema)) and not self._floats:
            return wide[0]
        if len(self._floats) == 1:
            return self._floats[0]
        for path in _OPENAI:
            place = parse(path, self._schema.names)
            if place is not None and self._is_vector(place):
                return place
        if self._maybe:
            return self._only(self._maybe)
        if self._floats:
            return self._only(self._floats)
        for name in filter(_usual, self._schema.names):
            return self.named(name)
        raise CorpusError(
            f"{self._what} has no column named {' or '.join(CANDIDATES)}; its columns are "
            f"{listed(self._schema.names)}{self._within()}. Name the column of vectors with --column"
        )

    def any_vectors(self) -> bool:
        usual = [field for field in self._vectors if any(map(_usual, (field.column, *field.steps)))]
        return bool(usual or self._floats or wide_columns(self._schema) or any(map(self._is_vector, self._maybe)))

    def ids(self, wanted: str | None, vectors: Field | Wide) -> tuple[Field | None, list[str]]:
        """The place of the ids; and what has to be said of those that cannot be taken."""
        if wanted == "":
            return None, []
        if wanted is not None:
            place = parse(wanted, self._schema.names)
            kind = None if place is None else self._type_of(place)
            if place is None or kind is None:
                names = listed(self._schema.names)
                raise CorpusError(f"{self._what} has no column {wanted!r} for the ids; its columns are {names}")
            if not is_id_type(kind):
                raise CorpusError(
                    f"the column {wanted!r} of {self._what} is {kind}, but ids are {EXPECTED}: "
                    "name another with --id-column, or none with --id-column ''"
                )
            return place, []
        notes = list[str]()
        for place in self._id_places(vectors):
            kind = self._type_of(place)
            if is_id_type(kind):
                return place, notes
            if not pa.types.is_null(kind):
                notes.append(f"the column {str(place)!r} is {kind}, and no ids: ids are {EXPECTED}")
        return None, notes

    def choice(self, vectors: Field | Wide, ids: Field | None) -> str:
        """One line for the owner: what was taken, and what else there was."""
        others = [str(each) for each in (*self._vectors, *self._maybe) if str(each) != str(vectors)]
        if isinstance(vectors, Wide):
            others = [str(each) for each in self._floats]
        names = [str(each) for each in self._id_places(vectors) if each != ids]
        line = f"vectors from {str(vectors)!r}, {'no ids' if ids is None else f'ids from {str(ids)!r}'}"
        also = [f"vectors {listed(others)}"] if others else []
        also += [f"ids {listed(names)}"] if names and ids is not None else []
        return f"{line} (also there: {', '.join(also)})" if also else line

    def _id_places(self, vectors: Field | Wide) -> list[Field]:
        """Columns of usual names, and fields beside the vectors, the nearest first."""
        found = [Field(name) for usual in IDS for name in self._schema.names if name.lower() == usual]
        if isinstance(vectors, Field):
            for depth in range(len(vectors.steps) - 1, -1, -1):
                around = Field(vectors.column, vectors.steps[:depth])
                kind = self._type_of(around)
                is_struct = kind is not None and pa.types.is_struct(kind)
                names = {kind.field(at).name for at in range(kind.num_fields)} if is_struct else set()
                found += [Field(around.column, (*around.steps, name)) for name in IDS if name in names]
        return [place for place in found if place != vectors]

    def _only(self, places: Sequence[Field]) -> Field:
        """The one there is, or the only one of floats: some keep quantised copies beside them. Raises CorpusError."""
        floats = [place for place in places if place in self._floats]
        if len(floats) == 1:
            return floats[0]
        if len(places) > 1:
            raise CorpusError(
                f"{self._what} has {len(places)} columns of vectors, {listed(places)}: name one with --column"
            )
        return places[0]

    def _is_vector(self, place: Field) -> bool:
        """Whether the first cells are vectors, of a type that does not say it; without a look, they are."""
        batch = self._peek([place.column])
        if batch is None:
            return True
        cells = (cell for cell in values_of(place.of(batch)) if cell is not None)
        return any(_reads(cell) for cell, _ in zip(cells, range(_LOOKED_AT), strict=False))

    def _type_of(self, place: Field) -> Any:
        return type_at(self._schema.field(place.column).type, place.steps)

    def _within(self) -> str:
        inner = [each for each in self._vectors if each.steps]
        return f"; within them are {listed(inner)}" if inner else ""


def choose_name(wanted: str | None, names: Sequence[str], vector_names: Sequence[str], what: str) -> str:
    """Of arrays that have nothing but names: the wanted one, or the only candidate. Raises CorpusError."""
    if wanted is not None:
        if wanted not in names:
            raise CorpusError(f"{what} has no column {wanted!r}; its columns are {listed(names)}")
        return wanted
    # One may be called `values` and be no vectors: those that are come first, the others serve the error message.
    found = [name for name in vector_names if _usual(name)] or [name for name in names if _usual(name)]
    found = found or (list(vector_names) if len(vector_names) == 1 else [])
    if len(found) == 1:
        return found[0]
    if found:
        raise CorpusError(f"{what} has {len(found)} columns of vectors, {listed(found)}: name one with --column")
    raise CorpusError(
        f"{what} has no column named {' or '.join(CANDIDATES)}; its columns are {listed(names)}. "
        "Name the column of vectors with --column"
    )


def _usual(name: str) -> bool:
    return name.lower() in CANDIDATES


def _reads(cell: Any) -> bool:
    try:
        return len(vector_of(cell)) > 1
    except CellError:
        return False
