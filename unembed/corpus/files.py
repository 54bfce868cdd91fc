"""What a person names, as the files that are meant: folders, patterns and lists, in natural order."""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

from unembed.corpus.formats import KNOWN, kind_of_name
from unembed.corpus.names import STDIN, shown
from unembed.corpus.saved_dataset import saved_dataset
from unembed.errors import CorpusError

_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_NUMBER: Final = re.compile(r"([0-9]+)")
# What lies beside vectors without being any.
_BESIDE: Final = re.compile(
    r"(dataset_infos?|dataset_dict|state|config|configuration|manifest|schema|modules|.*_config|(.*_)?metadata)\.json"
    r"|checkpoint[^.]*\.json|cache-.*\.arrow",
    re.IGNORECASE,
)


def is_url(source: str) -> bool:
    return _URL.match(source) is not None


def files_of(sources: Sequence[str], passed_over: list[str]) -> list[str]:
    """The files that are meant, in order: paths, URLs and `-`. Raises CorpusError for what leads to none.

    A list is read in the order in which it is given, unless that is the shell's, which puts part-10 before part-2. What
    lies in a folder and is no file of vectors is added to `passed_over`.
    """
    if not sources:
        raise CorpusError("no corpus is named; expected files, a folder, a pattern or a URL")
    if sources.count(STDIN) > 1:
        raise CorpusError("'-' is named twice, but stdin can be read only once")
    in_order = natural(sources) if list(sources) == sorted(sources) else sources
    return [file for source in in_order for file in _meant(source, passed_over)]


def natural(names: Iterable[str]) -> list[str]:
    """In natural order: part-2 before part-10."""
    return sorted(names, key=natural_key)


def natural_key(name: str) -> list[str | tuple[int, str]]:
    pieces = _NUMBER.split(name)
    return [(int(piece), piece) if at % 2 else piece for at, piece in enumerate(pieces)]


def choose(names: Iterable[str], where: str, passed_over: list[str]) -> list[str]:
    """The files of vectors among those of a folder, by their suffixes. Raises CorpusError for none, and for two kinds.

    `names` are relative to the folder. To `passed_over` go those that one might miss: not the tools' own.
    """
    found, skipped = defaultdict[str, list[str]](list), list[str]()
    for name in names:
        kind = kind_of_name(name).format
        if kind is None or _is_beside(name):
            skipped.append(name)
        else:
            found[kind].append(name)
    if not found:
        if not skipped:
            raise CorpusError(f"{where} is a folder with no files; expected some of {KNOWN}")
        raise CorpusError(f"{where} has no file of vectors, only {_some(skipped)}; a corpus is one of {KNOWN}")
    if len(found) > 1:
        kinds = ", ".join(f"{len(each)} {kind} ({_some(each, 1)})" for kind, each in sorted(found.items()))
        raise CorpusError(f"{where} holds files of several formats: {kinds}. Name those that are meant, or a pattern")
    passed_over += [name for name in skipped if not _is_beside(name)]
    return natural(next(iter(found.values())))


def _is_beside(name: str) -> bool:
    base = name.rpartition("/")[2]
    return is_hidden(base) or _BESIDE.fullmatch(base) is not None


def is_hidden(name: str) -> bool:
    """Names that begin with a dot or an underscore, such as _SUCCESS, are the tools' own."""
    return name.startswith((".", "_"))


def is_pattern(source: str) -> bool:
    return any(char in source for char in "*?[")


def said(passed_over: Sequence[str]) -> str:
    """One line for a person."""
    return f"passed over: {_some(natural(passed_over))}"


def _meant(source: str, passed_over: list[str]) -> list[str]:
    if source == STDIN or is_url(source):
        return [source]
    path = os.path.expanduser(source)  # noqa: PTH111 - a quoted `~`; Path() would take './-' for '-'
    if is_pattern(source) and not os.path.lexists(path):
        matches = natural(glob.glob(path, recursive=True))  # noqa: PTH207 - names stay as they were typed
        if not matches:
            raise CorpusError(f"no file matches {shown(source)!r}")
        fixed = len(list(takewhile(lambda part: not is_pattern(part), Path(path).parts)))  # which were typed
        visible = [match for match in matches if not any(map(is_hidden, Path(match).parts[fixed:]))]
        folders = [match for match in visible or matches if Path(match).is_dir()]
        files = [match for match in visible or matches if match not in folders]
        if any(kind_of_name(file).format for file in files):
            passed_over += [] if "**" in path else folders  # with them, what they hold has matched too
            return choose(files, shown(source), passed_over)
        return [file for match in folders for file in _of_folder(Path(match), passed_over)] or files
    return _of_folder(Path(path), passed_over) if Path(path).is_dir() else [path]


def _of_folder(folder: Path, passed_over: list[str]) -> list[str]:
    where = shown(folder)
    saved = saved_dataset(folder)
    if saved is not None:
        return [str(path) for path in saved]
    if (folder / "_delta_log").is_dir():
        raise CorpusError(f"{where} is a Delta table, whose log says which files count: write it as parquet first")
    if (folder / "_versions").is_dir():
        raise CorpusError(f"{where} is a Lance table: read it with lance:{where}")
    return [str(folder / name) for name in choose(_below(folder), where, passed_over)]


def _below(folder: Path) -> Iterable[str]:
    def refuse(error: OSError) -> None:
        raise CorpusError(f"{shown(folder)} cannot be read: {error.strerror}") from error

    seen = set[str]()  # links may lead in circles
    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if (real := os.path.realpath(here)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in names:
            if Path(here, name).is_file():  # and no pipe
                yield Path(here, name).relative_to(folder).as_posix()


def _some(names: Sequence[str], most: int = 3) -> str:
    more = ", ..." if len(names) > most else ""
    return ", ".join(repr(shown(name)) for name in names[:most]) + more
