"""What each fault did, on each database: collected over a session, printed at its end; for docs/operating.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final, Literal

Until = Literal["finished", "queued again"]

NOTE: Final = (
    "Recovery is from the fault to the end of the batch that it hit; for T9 and T14, whose batches then wait behind "
    "others, to the moment at which it was queued again."
)


@dataclass(frozen=True)
class Infliction:
    """One fault, inflicted once, and what was found when all had ended."""

    fault: str
    database: str
    batches: int
    kills: int  # how often it struck: a process killed, a server emptied, a connection cut
    expected: int  # rows
    found: int  # rows, and as they should be
    duplicates: int
    stuck: int  # batches that did not end
    attempts: int  # the highest number
    recoveries: list[float] = field(default_factory=list)  # seconds, of each batch that it hit


@dataclass(frozen=True)
class Line:
    """All inflictions of a fault on a database together."""

    fault: str
    database: str
    rounds: int
    batches: int
    kills: int
    expected: int
    found: int
    duplicates: int
    stuck: int
    attempts: int
    recovery_median: float | None
    recovery_worst: float | None


HEADINGS: Final = (
    "fault",
    "database",
    "rounds",
    "batches",
    "strikes",
    "rows expected",
    "found",
    "duplicates",
    "stuck",
    "highest attempt",
    "recovery, median (s)",
    "worst (s)",
)


def lines(inflictions: Sequence[Infliction]) -> list[Line]:
    """Sorted as the faults are numbered."""
    together: dict[tuple[str, str], list[Infliction]] = {}
    for each in inflictions:
        together.setdefault((each.fault, each.database), []).append(each)
    return [_line(*which, found) for which, found in sorted(together.items(), key=lambda item: _order(*item[0]))]


def _order(fault: str, database: str) -> tuple[int, str, str]:
    number = fault.split()[0].strip("T")
    return int("".join(filter(str.isdigit, number)) or 99), fault, database


def _line(fault: str, database: str, found: Sequence[Infliction]) -> Line:
    recoveries = [seconds for each in found for seconds in each.recoveries]
    sums = {
        name: sum(getattr(each, name) for each in found)
        for name in ("batches", "kills", "expected", "found", "duplicates", "stuck")
    }
    return Line(
        fault=fault,
        database=database,
        rounds=len(found),
        **sums,
        attempts=max(each.attempts for each in found),
        recovery_median=round(median(recoveries), 2) if recoveries else None,
        recovery_worst=round(max(recoveries), 2) if recoveries else None,
    )


def markdown(found: Sequence[Line]) -> str:
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(_cells(line) for line in found)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def table(found: Sequence[Line]) -> str:
    """For a terminal."""
    rows = [HEADINGS, *(_cells(line) for line in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _cells(line: Line) -> tuple[str, ...]:
    return tuple("–" if value is None else str(value) for value in asdict(line).values())


def write(folder: Path, found: Sequence[Line]) -> None:
    """faults.json, and faults.md for docs/operating.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.json").write_text(json.dumps([asdict(line) for line in found], indent=2) + "\n", "utf-8")
    (folder / "faults.md").write_text(f"{markdown(found)}\n{NOTE}\n", "utf-8")
