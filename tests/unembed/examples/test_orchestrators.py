"""The DAG and the flow: their tasks are called as Airflow and Prefect call them, without either.

Both were loaded by the real ones by hand: docs/pipelines.md says with which versions.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unembed.examples.conftest import EXAMPLES, ROWS
from unembed.client import Client


class NotAgainError(Exception):
    """What Airflow does not try again."""


@dataclass
class Dag:
    """What a DAG file has said to Airflow."""

    settings: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Callable[..., Any]] = field(default_factory=dict)
    sensor: dict[str, Any] = field(default_factory=dict)
    order: list[tuple[str, str]] = field(default_factory=list)


class _Used:
    """A task in the body of a DAG, whose value is there only when it has run."""

    def __init__(self, dag: Dag, name: str) -> None:
        self._dag, self.name = dag, name

    def __rshift__(self, other: _Used) -> None:
        self._dag.order.append((self.name, other.name))


@pytest.fixture
def dag(monkeypatch: pytest.MonkeyPatch) -> Dag:
    """The example, read by something that takes what Airflow takes."""
    said = Dag()

    def task(function: Callable[..., Any]) -> Callable[..., _Used]:
        name = function.__name__
        said.tasks[name] = function
        day = signature(function).parameters.get("ds")
        assert day is None or day.default is None, "Airflow refuses any other default of what it fills in itself"

        def use(*inputs: Any) -> _Used:
            said.order.extend((each.name, name) for each in inputs)
            return _Used(said, name)

        return use

    def sensor(**settings: Any) -> Callable[..., Any]:
        said.sensor = settings
        return task

    def dag(**settings: Any) -> Callable[..., Any]:
        said.settings = settings
        return lambda body: body

    task.sensor = sensor  # type: ignore[attr-defined]
    sdk, exceptions = ModuleType("airflow.sdk"), ModuleType("airflow.sdk.exceptions")
    sdk.dag, sdk.task = dag, task  # type: ignore[attr-defined]
    exceptions.AirflowFailException = NotAgainError  # type: ignore[attr-defined]
    for name, module in {"airflow": ModuleType("airflow"), "airflow.sdk": sdk, exceptions.__name__: exceptions}.items():
        monkeypatch.setitem(sys.modules, name, module)
    runpy.run_path(str(EXAMPLES / "airflow_dag.py"))
    return said


@pytest.fixture
def _in_this_folder(dag: Dag, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths of the DAG lead here."""
    names = dag.tasks["submit"].__globals__
    monkeypatch.setitem(names, "CORPUS", str(folder / "{day}.parquet"))
    monkeypatch.setitem(names, "TEXTS", str(folder / "texts-{day}.parquet"))
    (folder / "corpus.parquet").rename(folder / "2026-01-31.parquet")


def test_the_dag_submits_waits_without_a_slot_and_writes(dag: Dag) -> None:
    assert set(dag.order) == {("submit", "ended"), ("submit", "write"), ("ended", "write")}
    assert dag.sensor["mode"] == "reschedule"
    assert dag.settings["default_args"]["retries"] > 0


@pytest.mark.usefixtures("_in_this_folder")
def test_a_day_that_airflow_runs_again_is_the_same_job(dag: Dag, server: str) -> None:
    # Given a day, When its tasks are run twice, as when it is cleared
    submit, ended, write = (dag.tasks[name] for name in ("submit", "ended", "write"))
    jobs = [submit(ds="2026-01-31") for _ in range(2)]
    # Then there is one job, and its texts are where they belong
    assert jobs[0] == jobs[1]
    with Client(server) as client:
        client.job(jobs[0]).wait()
    assert ended(jobs[0]) is True
    assert write(jobs[0], ds="2026-01-31") == ROWS
    assert pq.read_table("texts-2026-01-31.parquet").num_rows == ROWS


@pytest.mark.usefixtures("_in_this_folder")
def test_what_would_fail_again_is_not_tried_again(dag: Dag, idle: str) -> None:
    # Given a day without a corpus, When it is submitted, Then Airflow is told not to try again
    with pytest.raises(NotAgainError, match="does not exist"):
        dag.tasks["submit"](ds="2026-02-01")
    # And a job that was cancelled fails its sensor, for good
    with Client(idle) as client:
        job = client.submit(np.ones((3, 384), np.float32))
        job.cancel()
        with pytest.raises(NotAgainError, match=f"job {job.id} is cancelled"):
            dag.tasks["ended"](job.id)


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the example defines, read by something that takes what Prefect takes: plain functions."""
    prefect = ModuleType("prefect")
    for name in ("flow", "task"):
        setattr(prefect, name, lambda **_settings: lambda function: function)
    monkeypatch.setitem(sys.modules, "prefect", prefect)
    return runpy.run_path(str(EXAMPLES / "prefect_flow.py"))


def test_a_flow_that_is_run_again_repeats_nothing(flow: dict[str, Any], server: str, folder: Path) -> None:
    # Given a corpus, When its flow is run twice, Then its texts are in the file, of one job
    for _ in range(2):
        assert flow["nightly"]("corpus.parquet", "texts.parquet", "2026-01-31") == ROWS
    assert pq.read_table("texts.parquet").num_rows == ROWS
    with Client(server) as client:
        assert len(client.jobs().jobs) == 1
