"""Tables in .json files: one document, with its rows in a list somewhere, or its columns in lists of one length.

[{"id": ..., "embedding": [...]}, ...]               rows
[[0.1, ...], ...]                                    vectors
{"data": [{"embedding": [...]}, ...], ...}           rows, at any of a few levels; the longest list of objects
{"ids": [...], "embeddings": [[...], ...], ...}      columns
{"doc-1": [...], "doc-2": [...], ...}                vectors by their ids, three or more
{"vectors": {"doc-1": {"values": [...]}, ...}}       rows by their ids, three or more
{"id": ..., "embedding": [...]}                      one row
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from unembed.corpus.base import reading
from unembed.corpus.columns import CANDIDATES
from unembed.corpus.digests import of_file
from unembed.corpus.json_lines import Row, row_of, table_of_rows
from unembed.corpus.json_stream import JsonStream
from unembed.corpus.table import Table
from unembed.errors import CorpusError

_DEEPEST: Final = 4  # levels of objects in which lists are looked for
_FEWEST: Final = 3  # keys that are taken for ids: two may well be the names of two vectors of one row


class _List(NamedTuple):
    """A list in the document."""

    steps: tuple[str, ...]  # the keys that lead to it
    length: int
    first: Any  # its first item


def json_table(path: Path, what: str) -> Table:
    """Reads the document once, a window at a time, to know what is in it. Raises CorpusError."""
    with _reading(what):
        found = list[_List]()
        with _opened(path) as stream:
            _survey(stream, (), found)
            if rest := stream.peek():
                raise ValueError(f"there is {rest!r} after its end; several documents belong on a line each, in .jsonl")
    count, rows = _rows_in(path, what, found)
    if count == 0:
        raise CorpusError(f"{what} has 0 rows: no list in it has an item")

    def again() -> Iterator[Row]:
        with _reading(what):
            yield from rows()

    return table_of_rows(what, again, count, lambda: of_file(path))


def _rows_in(path: Path, what: str, found: Sequence[_List]) -> tuple[int, Callable[[], Iterator[Row]]]:
    """How many rows there are, and how to read them."""
    vectors = [each for each in found if each.steps and _is_vector(each.first)]
    objects = [each for each in found if isinstance(each.first, dict)]
    if found and not found[0].steps:
        return found[0].length, lambda: map(row_of, _items(path, ()))
    if vectors:
        chosen = max(vectors, key=lambda each: each.length)
        columns = [each for each in found if each.steps[:-1] == chosen.steps[:-1] and each.length == chosen.length]
        return chosen.length, lambda: _across(path, columns)
    if objects:
        chosen = max(objects, key=lambda each: each.length)
        return chosen.length, lambda: map(row_of, _items(path, chosen.steps))
    if (before := _keyed(found)) is not None:
        return sum(1 for _ in _by_id(path, before)), lambda: _by_id(path, before)
    return int(any(each.length for each in found)), lambda: map(row_of, _whole(path))


def _keyed(found: Sequence[_List]) -> tuple[str, ...] | None:
    """The keys that lead to an object whose own keys are ids and no names of columns: lists of numbers, all as long,
    lie at the same place under them."""
    vectors = [each for each in found if isinstance(each.first, (int, float))]
    for depth in range(max((len(each.steps) for each in vectors), default=0)):
        places = {(each.steps[:depth], each.steps[depth + 1 :], each.length) for each in vectors}
        keys = {each.steps[depth] for each in vectors if len(each.steps) > depth}
        if len(places) == 1 and len(keys) >= _FEWEST and not keys & set(CANDIDATES):
            return vectors[0].steps[:depth]
    return None


def _by_id(path: Path, before: Sequence[str]) -> Iterator[Row]:
    with _opened(path) as stream:
        _walk(stream, before)
        for key in stream.keys():  # noqa: SIM118
            value = stream.value()
            yield {"id": key, **value} if isinstance(value, dict) else {"id": key, "embedding": value}


def _survey(stream: JsonStream, steps: tuple[str, ...], found: list[_List]) -> None:
    begins = stream.peek()
    if begins == "[":
        count, first = 0, None
        for item in stream.items():
            first = item if count == 0 else first
            count += 1
        found.append(_List(steps, count, first))
    elif begins == "{" and len(steps) < _DEEPEST:
        for key in stream.keys():  # noqa: SIM118 - not a dictionary
            _survey(stream, (*steps, key), found)
    else:
        stream.value()


def _items(path: Path, steps: Sequence[str]) -> Iterator[Any]:
    with _opened(path) as stream:
        _walk(stream, steps)
        yield from stream.items()


def _walk(stream: JsonStream, steps: Sequence[str]) -> None:
    """To where the value at these keys begins."""
    for step in steps:
        for key in stream.keys():  # noqa: SIM118
            if key == step:
                break
            stream.value()


def _across(path: Path, columns: Sequence[_List]) -> Iterator[Row]:
    names = [each.steps[-1] for each in columns]
    for values in zip(*(_items(path, each.steps) for each in columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _whole(path: Path) -> Iterator[Any]:
    with _opened(path) as stream:
        yield stream.value()


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], (int, float))


@contextmanager
def _opened(path: Path) -> Iterator[JsonStream]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        yield JsonStream(file)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    with reading(what):
        try:
            yield
        except ValueError as error:
            raise CorpusError(f"{what} is not JSON, or is cut short: {error}") from error
