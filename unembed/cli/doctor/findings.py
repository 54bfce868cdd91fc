"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class State(StrEnum):
    OK = "ok"
    WARN = "warn"  # something does not work, or not well
    FAIL = "fail"  # the main job does not work


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; of what is not ok, `expected` and `advice` say what would be, and what to do."""

    what: str
    state: State
    found: str
    advice: str = ""
    expected: str = ""

    @property
    def shown(self) -> str:
        return f"{self.found}; expected {self.expected}" if self.expected else self.found

    def as_json(self) -> dict[str, str]:
        named = asdict(self)
        return {"check": named.pop("what"), **named}


Check = Callable[[Path | None], Iterator[Finding]]  # of the home folder that was given
