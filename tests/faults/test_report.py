"""The table of the faults says what was found, and hides nothing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.faults import report


def infliction(fault: str, database: str = "sqlite", **changes: object) -> report.Infliction:
    usual: dict[str, object] = {"batches": 2, "kills": 1, "expected": 16, "found": 16, "duplicates": 0, "stuck": 0}
    return report.Infliction(fault, database, **{**usual, "attempts": 1, "recoveries": [1.0], **changes})  # type: ignore[arg-type]


def test_rounds_of_one_fault_on_one_database_make_one_line() -> None:
    # Given two rounds of a fault on one database, of which one lost rows, and one round on another
    found = [
        infliction("T2 child", recoveries=[1.0, 2.0]),
        infliction("T2 child", found=15, stuck=1, attempts=3, recoveries=[9.0]),
        infliction("T2 child", "postgresql"),
    ]
    # When they are put together
    postgresql, sqlite = report.lines(found)
    # Then what was lost is in the sum, and the worst of each is kept
    assert (sqlite.rounds, sqlite.expected, sqlite.found, sqlite.stuck, sqlite.attempts) == (2, 32, 31, 1, 3)
    assert (sqlite.recovery_median, sqlite.recovery_worst) == (2.0, 9.0)
    assert (postgresql.database, postgresql.rounds) == ("postgresql", 1)


def test_faults_stand_in_the_order_of_their_numbers() -> None:
    found = report.lines([infliction(name) for name in ("T10a ack", "T2 child", "T10b publish", "T1 main")])
    assert [line.fault for line in found] == ["T1 main", "T2 child", "T10a ack", "T10b publish"]


def test_the_report_is_written_as_data_and_as_a_table(tmp_path: Path) -> None:
    # Given a fault after which no batch had to recover
    found = report.lines([infliction("T8b row", recoveries=[])])
    # When it is written
    report.write(tmp_path / "out", found)
    # Then both files say the same
    (line,) = json.loads((tmp_path / "out" / "faults.json").read_text())
    assert (line["fault"], line["found"], line["recovery_worst"]) == ("T8b row", 16, None)
    table = (tmp_path / "out" / "faults.md").read_text()
    assert "| T8b row | sqlite | 1 | 2 | 1 | 16 | 16 | 0 | 0 | 1 | – | – |" in table
    assert report.NOTE in table
