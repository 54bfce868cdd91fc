"""What `make faults` measures at its end, in a short form."""

from __future__ import annotations

from pathlib import Path

from tests.faults.cost import HEADINGS, markdown, measure


def test_claim_and_finish_are_timed(tmp_path: Path) -> None:
    # Given three batches of four rows, When they are claimed and finished one after the other
    cost = measure("sqlite", f"sqlite:///{tmp_path}/unembed.db", batches=3, rows=4)
    # Then both took some time, and the table says so
    assert min(cost.claim_median, cost.claim_95, cost.finish_median, cost.finish_95) > 0
    heading, _, line = markdown([cost]).splitlines()
    assert heading == f"| {' | '.join(HEADINGS)} |"
    assert line.startswith("| sqlite | 3 | 4 | ")
