"""How stores are named, and how their names may be shown."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Scheme(NamedTuple):
    """What one scheme leads to."""

    module: str  # of `unembed.corpus.stores`; its `read` makes the table
    extra: str
    takes: tuple[str, ...]  # of the options


STORES: Final = {
    "postgresql": Scheme("postgresql", "postgres", ("query",)),
    "postgres": Scheme("postgresql", "postgres", ("query",)),
    "sqlite": Scheme("sqlite", "sqlite", ("query",)),
    "duckdb": Scheme("duckdb", "duckdb", ("query",)),
    "qdrant": Scheme("qdrant", "qdrant", ("collection",)),
    "chroma": Scheme("chroma", "chroma", ("collection",)),
    "lance": Scheme("lance", "lance", ("collection",)),
    "faiss": Scheme("faiss", "faiss", ()),
}
UNCLEAR: Final = "//..."  # a URL whose password has signs that should have been escaped: where it ends cannot be told

SOURCE: Final = re.compile(rf"(?P<scheme>{'|'.join(STORES)})(?P<driver>\+\w+)?:(?P<place>.*)", re.DOTALL)
_URL: Final = re.compile(
    r"(?P<before>(?:\w+:)?[\w+]+://)(?:(?P<user>[^:@/?#]*)(?::[^@/?#]*)?@)?(?P<after>[^@?#]*)(?:[?#][^@]*)?", re.DOTALL
)


def is_store(source: str) -> bool:
    """Whether this names a store, rather than a file or its URL."""
    return SOURCE.fullmatch(source) is not None


def shown_source(source: str) -> str:
    """The source as messages and jobs may show it: without a password, and without what follows a `?`."""
    found = SOURCE.fullmatch(source)
    if found is None or "://" not in source:
        return source
    parts = _URL.fullmatch(source)
    if parts is None:
        return f"{found['scheme']}:{UNCLEAR}"
    return f"{parts['before']}{parts['user'] + '@' if parts['user'] else ''}{parts['after']}"
