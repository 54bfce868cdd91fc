"""The simulation of many workers in its short form: nothing is done twice or lost, and the costs are there."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks.thousand_workers import HEARTBEAT, SWEEP_INTERVAL, CallTimes, Cost, Report, Scenario, simulate

needs_psutil = pytest.mark.skipif(not find_spec("psutil"), reason="the extra `bench` is not installed")


@needs_psutil
@pytest.mark.parametrize("rows", [0, 3])
def test_every_worker_has_its_turns_on_a_real_postgresql(rows: int) -> None:
    # Given twenty workers, two jobs, and batches that take a tenth of a second
    plan = Scenario(workers=20, jobs=2, batch_seconds=0.1, seconds=2.0, rows=rows, threads=4, tries=5)
    # When they work for two seconds, with their rows in files and in SQL
    report = simulate(plan)
    # Then batches were taken and ended, and none that was taken is lost
    assert len(report.calls["claim"].took) >= report.finished == len(report.calls["finish"].took) > 0
    assert report.stuck == 0
    # And what each call costs is known
    assert set(report.costs) == {"check in", "claim", "heartbeat", "finish"}
    assert all(cost.own > 0 for cost in report.costs.values())
    assert f"| finish | {report.finished}" in report.markdown()


def test_what_more_workers_need_is_computed_from_the_costs() -> None:
    # Given calls that take PostgreSQL 1, 2, 3 and 4 ms
    costs = {"check in": Cost(1, 0), "claim": Cost(2, 0), "heartbeat": Cost(3, 0), "finish": Cost(4, 0)}
    report = Report(Scenario(), costs, {"claim": CallTimes([0.1], [0.0])}, 1.0, 1.0, 1.0, 1, 0)
    # When a thousand workers take a batch in 60 s each, Then PostgreSQL needs what their calls add up to
    expected = 1000 * (0.001 / SWEEP_INTERVAL + 0.003 / HEARTBEAT + (0.002 + 0.004) / 60)
    assert report.cores(1000, 60.0) == pytest.approx(expected)
