"""A source of texts or vectors in one word, as the options of training take it: SOURCE[#QUERY][:COLUMN...].

    docs.parquet:text:embedding             two columns, or fields within them
    sqlite:docs.db#select text, embedding from docs
    qdrant:http://host:6333#docs:payload.text:vector

What follows `#` is the query of a database, to its end, or the name of a collection. Columns come last, and are split
off from the right: what has a slash is none, nor is a number, which is a port. A path that exists is taken as it is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from unembed.corpus.base import reading
from unembed.corpus.files import is_pattern, is_url
from unembed.corpus.formats import kind_of_name, without_compression
from unembed.corpus.names import STDIN, shown
from unembed.corpus.store_names import SOURCE, STORES, shown_source

FORMS: Final = "[NAME=]TEXTS[,EMBEDDINGS] or [NAME=]SOURCE[:TEXT_COLUMN:EMBEDDING_COLUMN]"  # of a set, for help
_MOST: Final = 2  # columns: that of the texts and that of the vectors
_COLUMN: Final = re.compile(r"(?P<before>.+):(?P<column>[^:/\\]*)", re.DOTALL)
_HEAD: Final = 512  # bytes
_TEXT: Final = (".txt", ".text")


@dataclass(frozen=True)
class Named:
    """What such a word names."""

    source: str
    query: str | None = None
    collection: str | None = None
    columns: tuple[str, ...] = ()  # at most two; an empty one is to be found

    @classmethod
    def parse(cls, word: str) -> Named:
        """Whatever the word is, it names something; whether that is there is seen when it is opened."""
        if exists(word):
            return cls(word)
        store = SOURCE.fullmatch(word)
        if store is None:
            source, columns = _without_columns(word)
            return cls(source, columns=columns)
        source, _, part = word.partition("#")
        if "@" in part.partition(" ")[0] and "@" not in source:  # a password with this sign: the store says what to do
            return cls(word)
        if "query" in STORES[store["scheme"]].takes:
            return cls(source, query=part or None)
        if part:
            part, columns = _without_columns(part)
        else:
            place, columns = _without_columns(store["place"])
            source = word[: store.start("place")] + place
        return cls(source, collection=part or None, columns=columns)

    @property
    def is_store(self) -> bool:
        return SOURCE.fullmatch(self.source) is not None

    @property
    def is_path(self) -> bool:
        """Whether it is one path on this machine."""
        elsewhere = self.is_store or is_url(self.source) or self.source == STDIN
        return not elsewhere and (exists(self.source) or not is_pattern(self.source))

    @property
    def is_lines(self) -> bool:
        """Whether it is a file of one text a line, rather than rows with columns."""
        if self.is_store or self.columns:
            return False
        if self.source == STDIN:
            return True
        if is_url(self.source):
            return without_compression(self.source.partition("?")[0]).lower().endswith(_TEXT)
        if not self.is_path:
            return False
        path = Path(self.source).expanduser()
        return kind_of_name(self.source).format is None and not path.is_dir() and not _is_binary(path)

    @property
    def what(self) -> str:
        """As messages may show it."""
        return shown(shown_source(self.source))

    @property
    def stem(self) -> str:
        """A name for what it holds."""
        if self.collection:
            return self.collection
        store = SOURCE.fullmatch(shown_source(self.source))
        place = store["place"] if store else self.source.partition("?")[0]
        name = PurePath(without_compression(place.replace("\\", "/").rstrip("/"))).name
        return shown(PurePath(name).stem or (store["scheme"] if store else name) or "texts")


def _is_binary(path: Path) -> bool:
    """Vectors under a name that does not say so; a pipe is not asked, as what is read of it is gone."""
    if not path.is_file():
        return False
    with reading(shown(path)), path.open("rb") as file:
        return b"\0" in file.read(_HEAD)


def exists(path: str) -> bool:
    """Whether it is a path on this machine."""
    try:
        return os.path.lexists(os.path.expanduser(path))  # noqa: PTH111 - Path() would take './-' for '-'
    except ValueError:  # a null character
        return False


def split_pair(word: str) -> tuple[str, str | None]:
    """`TEXTS,EMBEDDINGS` as the two; a word that names one source as that and None. A query may have commas."""
    if exists(word) or ("#" in word.partition(",")[0] and SOURCE.fullmatch(word)):
        return word, None
    commas = [at for at, char in enumerate(word) if char == ","]
    at = next((at for at in commas if exists(word[:at])), commas[0] if commas else None)
    return (word, None) if at is None else (word[:at], word[at + 1 :])


def _without_columns(word: str) -> tuple[str, tuple[str, ...]]:
    columns = list[str]()
    while len(columns) < _MOST and not exists(word):
        match = _COLUMN.fullmatch(word)
        if match is None or match["column"].isdecimal():
            break
        word, columns = match["before"], [match["column"], *columns]
    return word, tuple(columns)
