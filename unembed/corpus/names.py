"""Names of files as a person may see them, and as a job may bear them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from unembed.corpus.store_names import is_store, shown_source

STDIN: Final = "-"
_LONGEST: Final = 200  # characters of a job's name
_KEPT: Final = 60  # of them, the last ones: shards differ at the end


def shown(name: str | os.PathLike[str]) -> str:
    """The name with bytes that are no UTF-8, and characters that would move the cursor, written as escapes."""
    text = os.fspath(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def job_name(sources: Sequence[str | os.PathLike[str]]) -> str:
    """What a job is called when nobody named it: after the first of its sources."""
    first = os.fspath(sources[0])
    if is_store(first):
        name = shown(shown_source(first))
    else:
        name = "stdin" if first == STDIN else shown(PurePath(first.partition("?")[0]).name or first)
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    return _shortened(name, _LONGEST - len(more)) + more


def _shortened(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: longest - _KEPT - 1]}…{name[-_KEPT:]}"
