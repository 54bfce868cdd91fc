"""What can be run on a page, and where its links lead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """A command for a shell, or a block of Python."""

    kind: Literal["console", "python"]
    text: str
    line: int  # on its page, from 1


def snippets(page: str) -> Iterator[Snippet]:
    """In the order of the page: each `$ ` command of its `console` blocks, and each of its `python` blocks."""
    for fence in _FENCE.finditer(page):
        line = page.count("\n", 0, fence.start()) + 2
        if fence[1] == "python":
            yield Snippet("python", fence[2], line)
        elif fence[1] == "console":
            yield from _commands(fence[2], line)


def _commands(block: str, first: int) -> Iterator[Snippet]:
    """A command goes on while its line ends with a backslash, or a quotation mark is open; all else is output."""
    lines = iter(enumerate(block.splitlines(), first))
    for number, line in lines:
        if not line.startswith("$ "):
            continue
        text = line.removeprefix("$ ")
        while text.endswith("\\") or text.count('"') % 2:
            text += f"\n{next(lines)[1]}"
        yield Snippet("console", text, number)


def links(page: str) -> list[str]:
    """The targets of the links outside its blocks of code."""
    return _LINK.findall(_FENCE.sub("", page))


def anchors(page: str) -> set[str]:
    """The headings as GitHub writes them after the `#` of a link."""
    found = _HEADING.findall(_FENCE.sub("", page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
