"""The real Flower beside real workers: of good, failing, poisoned and cancelled jobs it shows what is in SQL."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.parts import Process
from tests.faults.rig import Load, Site
from tests.faults.stand_in import Kind
from tests.worker.processes import await_
from unembed.schemas import Batch, BatchState, JobState

PASSWORD = "operator:a-secret"
PREFIX = "monitor/flower"
STATES = {BatchState.DONE: "SUCCESS", BatchState.DEAD: "FAILURE", BatchState.CANCELLED: "REVOKED"}

Tasks = dict[str, dict[str, Any]]


class Flower(Process):
    """`unembed flower`, behind a password and under a path."""

    def __init__(self, site: Site, folder: Path) -> None:
        command = [sys.executable, "-P", "-c", "from unembed.cli import main; main()", "flower"]
        options = ["--port", "0", "--url-prefix", PREFIX]
        environment = site.environment | {"FLOWER_BASIC_AUTH": PASSWORD}
        super().__init__("flower", [*command, *options], environment, folder / "flower.log")

    @property
    def url(self) -> str:
        (*_, found) = re.findall(r"Flower answers at (http://\S+)", self.log.read_text())
        return str(found)

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return httpx2.get(self.url + path, auth=tuple(PASSWORD.split(":")), timeout=30, **more)

    def until_ready(self) -> None:
        def answers() -> bool:
            assert self.runs, self.log.read_text()
            with suppress(httpx2.TransportError, ValueError):  # it has not said where it answers yet
                return self.get("/healthcheck").status_code == 200
            return False

        started = self.log.stat().st_size if self.log.exists() else 0
        self.start()
        await_(lambda: b"Flower answers at" in self.log.read_bytes()[started:], 120, "Flower starts")
        await_(answers, 60, "Flower answers")

    def tasks(self) -> Tasks:
        found: Tasks = self.get("/api/tasks").json()
        return found

    def endings_of(self, load: Load) -> list[str]:
        """How the attempts at the job's batches ended that were not tried again. On a busy machine a lease runs out."""
        states = [task["state"] for uuid, task in self.tasks().items() if uuid.startswith(load.job_id)]
        return [state for state in states if state != "RETRY"]

    def counted(self, event: str) -> float:
        """By Flower's metrics, over all workers."""
        found = re.findall(rf'^flower_events_total{{.*type="{event}".*}} (\S+)$', self.get("/metrics").text, re.M)
        return sum(map(float, found))


@pytest.fixture
def flower(site: Site, tmp_path: Path) -> Iterator[Flower]:
    running = Flower(site, tmp_path)
    running.until_ready()
    # It hears what the workers tell.
    await_(lambda: any(running.get("/api/workers", params={"status": 1}).json().values()), 60, "a worker is online")
    yield running
    if running.runs:
        running.kill()


@pytest.mark.parametrize("_running_site", ["sqlite"], indirect=True)
def test_flower_shows_every_attempt_as_it_ended_and_still_does_after_a_restart(
    site: Site, flower: Flower, tmp_path: Path
) -> None:
    # Given a job that is good, one whose decoder fails, one that kills its workers, and one that is cancelled
    good = site.submit(batches=3, seconds=0.02, name="nightly <b>")
    failing = site.submit(batches=1, seconds=0.02, kinds=dict.fromkeys(range(8), Kind.RAISES))
    poisoned = site.submit(batches=1, seconds=0.02, kinds={0: Kind.KILLS})
    cancelled = site.submit(batches=1, rows=200, seconds=0.3)
    await_(lambda: site.batches(cancelled, BatchState.RUNNING), 60, "it runs")
    site.client.cancel(cancelled.job_id)
    loads = (good, failing, poisoned, cancelled)
    await_(lambda: all(site.store.jobs.get(load.job_id).state.is_ended for load in loads), 90, "all end")
    assert site.store.jobs.get(good.job_id).state is JobState.SUCCEEDED
    batches = [batch for load in loads for batch in site.batches(load)]
    # And a message for which nothing is left
    (first, *_) = site.batches(good)
    site.publish(first.id)
    # Then every attempt is shown, the last one of a batch as the batch is in SQL
    await_(lambda: shows_all(flower, batches), 60, "all attempts have ended there")
    assert flower.endings_of(good) == ["SUCCESS"] * 3
    assert flower.endings_of(failing) == flower.endings_of(poisoned) == ["FAILURE"]
    assert flower.endings_of(cancelled) == ["REVOKED"]
    # And the message is ignored, as some of those of the others may have been
    await_(lambda: any(is_ignored(task, first) for task in flower.tasks().values()), 60, "the message is shown")
    assert {task["state"] for task in flower.tasks().values()} == {"SUCCESS", "FAILURE", "RETRY", "REVOKED", "IGNORED"}
    # And who did what is in the list itself
    shown = flower.tasks()[f"{first.id}.{first.attempt}"]
    assert (shown["name"], ast.literal_eval(shown["args"])) == ("decode.batch", ["nightly <b>", first.id])
    assert ast.literal_eval(shown["kwargs"]) == {
        "job": "nightly <b>",
        "rows": 8,
        "attempt": first.attempt,
        "device": "cpu",
    }
    assert (shown["worker"], shown["result"]) == (first.worker, "8 rows")
    (dead,) = site.batches(failing)
    assert flower.tasks()[f"{dead.id}.{dead.attempt}"]["exception"] == dead.error
    # And what was done can be counted from its metrics
    assert flower.counted("task-succeeded") == 3
    assert flower.counted("task-failed") == 2
    assert 'flower_task_runtime_seconds_count{task="decode.batch"' in flower.get("/metrics").text
    # When it is killed, and started again
    before = flower.tasks()
    flower.kill()
    flower.until_ready()
    # Then the last attempt at each batch is shown as before, and nothing is counted twice
    after = flower.tasks()
    for batch in batches:
        uuid = f"{batch.id}.{batch.attempt}"
        for field in ("state", "args", "worker", "result", "retries"):
            assert after[uuid][field] == before[uuid][field], (uuid, field)
    assert flower.counted("task-succeeded") == 0
    assert not list(tmp_path.glob("flower*.db"))
    # And nobody sees any of it without the password, under the path or elsewhere
    for path in ("/", "/tasks", "/api/tasks", "/metrics"):
        assert httpx2.get(flower.url + path, timeout=30).status_code == 401, path
    page = flower.get("/tasks")
    assert page.status_code == 200
    links = re.findall(r'(?:href|src)="(/[^"]*)"', page.text)
    assert links
    assert [link for link in links if not link.startswith(f"/{PREFIX}/")] == []
    # And it changes nothing
    auth = tuple(PASSWORD.split(":"))
    stopped = httpx2.post(f"{flower.url}/api/worker/shutdown/{first.worker}", auth=auth, timeout=30)
    assert (stopped.status_code, stopped.text) == (403, "Read only mode is enabled")


def shows_all(flower: Flower, batches: list[Batch]) -> bool:
    tasks = flower.tasks()
    return all(tasks.get(f"{batch.id}.{batch.attempt}", {}).get("state") == STATES[batch.state] for batch in batches)


def is_ignored(task: dict[str, Any], batch: Batch) -> bool:
    return task["state"] == "IGNORED" and batch.id in task["args"]
