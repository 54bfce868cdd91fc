"""What is asked of a store, and how what it answers is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from unembed.corpus.spool import Progress
from unembed.errors import CorpusError

ROWS: Final = 2048  # taken together
_SQLALCHEMY: Final = "///"  # `sqlite:///docs.db`, as SQLAlchemy writes it; a fourth slash is the path's own
_LONGEST: Final = 300  # characters of what a store says of an error


@dataclass(frozen=True)
class StoreRequest:
    """Which rows of which store."""

    place: str  # the path of a local store, or the whole URL of a server
    what: str  # the store as messages may show it
    query: str | None = None
    collection: str | None = None
    column: str | None = None  # the vector that is meant, where there are several to a row
    progress: Progress = lambda _what, _done, _total: None  # of the bytes that are read

    @property
    def is_server(self) -> bool:
        return self.place.startswith(("http://", "https://"))

    def path(self, kind: str) -> Path:
        """The local store. Raises CorpusError when it is not there; `kind` says what was expected."""
        path = Path(self.place.removeprefix(_SQLALCHEMY)).expanduser()
        if not self.place or not path.exists():
            raise CorpusError(f"{self.what} does not exist; expected {kind}")
        return path

    def file(self, kind: str) -> Path:
        """As `path`, of a store that is one file."""
        path = self.path(kind)
        if path.is_dir():
            raise CorpusError(f"{self.what} is a folder; expected {kind}")
        return path

    def required_query(self, tables: Sequence[str]) -> str:
        """The query. Raises CorpusError when there is none, and names the tables that there are."""
        if self.query is not None and self.query.strip(" \t\r\n;"):
            return self.query.strip().rstrip("; \t\r\n")
        example = tables[0] if len(tables) == 1 else "docs"
        raise CorpusError(
            f"{self.what} is read by a query, such as --query 'select id, embedding from {example}'; "  # noqa: S608
            f"its tables are {listed(tables)}"
        )

    def required_collection(self, names: Sequence[str]) -> str:
        """The collection that is named, or the only one. Raises CorpusError."""
        if self.collection is not None:
            if self.collection not in names:
                raise CorpusError(
                    f"{self.what} has no collection {self.collection!r}; its collections are {listed(names)}"
                )
            return self.collection
        if len(names) == 1:
            return names[0]
        raise CorpusError(f"{self.what} has {len(names)} collections, {listed(names)}: name one with --collection")

    def of(self, collection: str) -> str:
        return f"the collection {collection!r} of {self.what}"


def require_names(names: Sequence[str], what: str) -> None:
    """Raises CorpusError unless each column of a query has a name of its own."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CorpusError(f"the query on {what} gives two columns the name {twice[0]!r}: rename one with `as`")


def listed(names: Sequence[str], most: int = 20) -> str:
    more = ", ..." if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more or "none"


def json_of(value: object) -> str:
    """JSON for a column of text; half of a surrogate pair, which no such column holds, as an escape."""
    return json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def line(error: BaseException) -> str:
    """What a store says of an error, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
