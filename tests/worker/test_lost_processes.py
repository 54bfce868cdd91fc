"""What a process held that is known to be dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery import Celery
from celery.worker.request import Request

from tests.builders import add_batches, make_job
from unembed.errors import StoreUnavailableError
from unembed.models import logs
from unembed.models.store import Store
from unembed.schemas import Batch, BatchState
from unembed.worker import lost_processes
from unembed.worker.context import Context

Queued = Callable[..., Batch]
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def state(store: Store, batch: Batch) -> BatchState:
    (found,) = [each for each in store.jobs.batches(batch.job_id) if each.id == batch.id]
    return found.state


@pytest.fixture
def dead_pid() -> int:
    """Of a process that was."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestPredecessor:
    def test_a_worker_takes_back_what_its_dead_predecessor_held(
        self, context: Context, store: Store, dead_pid: int
    ) -> None:
        # Given a worker that died with a batch, and another one that has one
        job = make_job(store)
        mine, other = add_batches(store, job)
        store.workers.check_in(context.name, "here", dead_pid, None, None)
        store.attempts.claim(mine.id, context.name, 60)
        store.attempts.claim(other.id, "somebody@else", 60)
        # When a worker of the same name starts, Then the batch waits for it, and the other's is left alone
        assert lost_processes.reclaim_from_predecessor(context) == 1
        assert (state(store, mine), state(store, other)) == (BatchState.QUEUED, BatchState.RUNNING)

    def test_an_attempt_that_died_is_a_failed_span_of_its_batch_and_a_line_with_its_id(
        self,
        context: Context,
        store: Store,
        dead_pid: int,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        # Given a batch that was brought by a request in a trace, and whose worker died with it
        spans: list[dict[str, Any]] = []
        monkeypatch.setattr("unembed.tracing.traceparent", lambda: TRACEPARENT)
        monkeypatch.setattr("unembed.tracing.record", lambda name, began, **more: spans.append({"name": name, **more}))
        (batch,) = add_batches(store, make_job(store), (1,))
        store.workers.check_in(context.name, "here", dead_pid, None, None)
        store.attempts.claim(batch.id, context.name, 60)
        # When its successor takes the batch back
        caplog.handler.setFormatter(logs.TextLines())
        lost_processes.reclaim_from_predecessor(context)
        # Then the attempt, which nobody else can tell of, is in that trace, and in the log by its id
        (span,) = spans
        assert (span["name"], span["parent"], span["batch"], span["attempt"]) == ("attempt", TRACEPARENT, batch.id, 1)
        assert "died" in span["error"]
        assert f"the process that decoded a batch died; the batch is queued [batch={batch.id} attempt=1]" in caplog.text

    def test_from_a_namesake_that_lives_nothing_is_taken(
        self, context: Context, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given another living process under the same name, which holds a batch
        monkeypatch.setattr(lost_processes.socket, "gethostname", lambda: "here")
        (batch,) = add_batches(store, make_job(store), (1,))
        store.workers.check_in(context.name, "here", os.getpid(), None, None)
        store.attempts.claim(batch.id, context.name, 60)
        # When a second one starts, Then the first one keeps it
        assert lost_processes.reclaim_from_predecessor(context) == 0
        assert state(store, batch) is BatchState.RUNNING

    def test_a_database_that_is_away_is_no_reason_not_to_start(
        self, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away() -> Any:
            raise StoreUnavailableError

        monkeypatch.setattr(context.store.workers, "all", away)
        assert lost_processes.reclaim_from_predecessor(context) == 0


class TestChild:
    @pytest.fixture
    def request_of(self, context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Batch], Any]]:
        """A delivered message of a batch, whose further way in Celery is not taken."""
        lost_processes.watch_children(context)
        monkeypatch.setattr(Request, "on_failure", lambda *args, **kwargs: "celery goes on")

        def make(batch: Batch) -> Any:
            request = object.__new__(lost_processes.BatchRequest)
            request.id = f"message of {batch.id}"
            return request

        yield make
        lost_processes._contexts.clear()

    @staticmethod
    def info(error: BaseException) -> ExceptionInfo:
        try:
            raise error
        except type(error):
            return ExceptionInfo()

    def test_a_child_that_died_gives_its_batch_back_before_celery_goes_on(
        self, context: Context, store: Store, queued: Queued, request_of: Callable[[Batch], Any]
    ) -> None:
        # Given a batch in a child
        batch = queued()
        store.attempts.claim(batch.id, context.name, 60, f"message of {batch.id}")
        # When Celery learns that the child was lost
        result = request_of(batch).on_failure(self.info(WorkerLostError("signal 9")))
        # Then the batch is free, with that attempt counted
        assert result == "celery goes on"
        (found,) = store.jobs.batches(batch.job_id)
        assert (found.state, found.attempt, found.error_code) == (BatchState.QUEUED, 1, "worker_lost")

    def test_another_failure_leaves_the_batch_to_its_task(
        self, context: Context, store: Store, queued: Queued, request_of: Callable[[Batch], Any]
    ) -> None:
        batch = queued()
        store.attempts.claim(batch.id, context.name, 60, f"message of {batch.id}")
        request_of(batch).on_failure(self.info(ValueError("no")))
        assert state(store, batch) is BatchState.RUNNING

    def test_a_copy_of_its_message_takes_nothing_from_the_worker_that_has_it(
        self, context: Context, store: Store, queued: Queued, request_of: Callable[[Batch], Any]
    ) -> None:
        # Given a batch that another worker has, and a copy of its message in a child of ours that dies
        batch = queued()
        store.attempts.claim(batch.id, "somebody@else", 60, f"message of {batch.id}")
        request_of(batch).on_failure(self.info(WorkerLostError("signal 9")))
        # Then the other worker keeps it
        assert state(store, batch) is BatchState.RUNNING

    def test_a_database_that_is_away_leaves_it_to_the_lease(
        self, context: Context, queued: Queued, request_of: Callable[[Batch], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(*_: str) -> int:
            raise StoreUnavailableError

        lost_processes.watch_children(replace(context))
        monkeypatch.setattr(context.store.sweeping, "reclaim", away)
        assert request_of(queued()).on_failure(self.info(WorkerLostError("signal 9"))) == "celery goes on"


def test_the_task_uses_this_request() -> None:
    # Given an app, When the task is looked up, Then a delivered message of it is ours
    from unembed.worker.tasks import decode_batch

    with Celery("test", set_as_current=False) as app:
        app.finalize()
        assert decode_batch.Request == "unembed.worker.lost_processes:BatchRequest"
