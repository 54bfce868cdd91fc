"""How we run Flower: what it may be told to do, whom it answers, and what it shows after a restart."""

from __future__ import annotations

import ast
import asyncio
import base64
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flower.command import extract_settings
from flower.events import EventsState
from flower.options import options
from flower.urls import settings as pages
from prometheus_client import REGISTRY
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.builders import add_batches, make_job, run_job
from unembed.cli.app import run
from unembed.errors import InputError
from unembed.models.database import open_engine
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.worker import flower_history, flower_server
from unembed.worker.celery import make_app
from unembed.worker.flower_server import FlowerServer, choose_options

Ask = Callable[..., HTTPResponse]
PASSWORD = {"Authorization": f"Basic {base64.b64encode(b'me:secret').decode()}"}


@pytest.fixture(autouse=True)
def _flower_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flower's options are those of the process."""
    for name in ("FLOWER_UNAUTHENTICATED_API", "FLOWER_BASIC_AUTH"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    before = {name: getattr(options, name) for name in options._options if name != "help"}
    yield
    for name, value in before.items():
        setattr(options, name, value)


# --- its options -----------------------------------------------------------------------------------------------------


def test_it_reads_only_and_stays_at_home_unless_it_is_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    choose_options({})
    assert (options.read_only, options.address, options.persistent) == (True, "127.0.0.1", False)
    monkeypatch.setenv("FLOWER_READ_ONLY", "false")
    monkeypatch.setenv("FLOWER_MAX_TASKS", "100000")
    choose_options({"port": 7})
    assert (options.read_only, options.max_tasks, options.port) == (False, 100_000, 7)
    choose_options({"read_only": True})
    assert options.read_only is True


@pytest.mark.parametrize(
    ("variables", "given", "words"),
    [
        ({"FLOWER_PERSISTENT": "true"}, {}, "pickle"),
        ({"FLOWER_CONF": "mine.py"}, {}, "Python code"),
        ({"FLOWER_MAX_TASKS": "many"}, {}, "many"),
        ({"FLOWER_ADDRESS": "0.0.0.0"}, {}, "0.0.0.0 without a password: set FLOWER_BASIC_AUTH"),
        ({"FLOWER_ADDRESS": ""}, {}, "every address"),
        ({}, {"address": "10.0.0.1"}, "10.0.0.1"),
    ],
)
def test_what_would_expose_it_or_run_code_is_refused(
    variables: Mapping[str, str], given: Mapping[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=words):
        choose_options(given)


def test_behind_a_password_it_may_leave_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "me:secret")
    choose_options({"address": "0.0.0.0"})
    assert options.basic_auth == ["me:secret"]


def test_the_verb_hands_on_what_it_is_given_and_leaves_the_rest_to_the_variables(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given: list[Mapping[str, Any]] = []
    monkeypatch.setattr(flower_server, "serve", given.append)
    for words in ([], ["--host", "::1", "--port", "0", "--url-prefix", "flower", "--no-read-only"]):
        with pytest.raises(SystemExit) as ended:
            run(["flower", *words])
        assert ended.value.code == 0
    assert given == [{}, {"address": "::1", "port": 0, "url_prefix": "flower", "read_only": False}]
    # And what is refused is one line
    monkeypatch.undo()
    with pytest.raises(SystemExit) as ended:
        run(["flower", "--host", "0.0.0.0"])
    assert ended.value.code == 2
    assert "without a password" in capfd.readouterr().err


# --- whom it answers -------------------------------------------------------------------------------------------------


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """One request of a Flower that is started for it, without anything behind it."""

    def fetch(path: str, headers: Mapping[str, str] | None = None, method: str = "GET", **given: Any) -> HTTPResponse:
        choose_options(given)
        pages.clear()
        pages.update(before)
        extract_settings()

        async def exchange() -> HTTPResponse:
            server = FlowerServer(store, capp=make_app(Settings()), options=options, **pages)
            (socket,) = bind_sockets(0, "127.0.0.1")
            http = HTTPServer(server)
            http.add_socket(socket)
            url = f"http://127.0.0.1:{socket.getsockname()[1]}{path}"
            try:
                return await AsyncHTTPClient().fetch(
                    url, raise_error=False, headers=headers, method=method, allow_nonstandard_methods=True
                )
            finally:
                http.stop()
                server.executor.shutdown()

        return asyncio.run(exchange())

    before = dict(pages)
    with open_engine(f"sqlite:///{tmp_path / 'none.db'}") as engine:
        store = Store(engine, Settings())
        yield fetch
    pages.clear()
    pages.update(before)


def test_without_a_password_its_api_is_open_to_this_machine_alone(ask: Ask) -> None:
    # Given a Flower without a password
    found = ask("/api/tasks")
    # Then its API can be used, and no page of another site may read it
    assert (found.code, found.body) == (200, b"{}")
    assert not [name for name in found.headers if name.startswith("Access-Control-")]
    # Not even by another name for this machine
    for path in ("/api/tasks", "/metrics", "/"):
        refused = ask(path, {"Host": "rebound.example:5555"})
        assert refused.code == 403, path
        assert b"FLOWER_BASIC_AUTH" in refused.body
    for host in ("localhost:5555", "127.0.0.1", "[::1]:5555"):
        assert ask("/api/tasks", {"Host": host}).code == 200, host


def test_its_buttons_are_gone_and_its_api_does_nothing(ask: Ask) -> None:
    for path in ("/api/worker/shutdown/w@h", "/api/task/revoke/t", "/api/worker/pool/grow/w@h", "/api/task/apply/t"):
        assert ask(path, method="POST").code == 403, path


def test_with_its_buttons_the_api_needs_a_password(ask: Ask) -> None:
    assert ask("/api/tasks", read_only=False).code == 401


def test_behind_a_password_is_all_but_its_health(ask: Ask) -> None:
    for path in ("/", "/tasks", "/api/tasks", "/metrics"):
        assert ask(path, basic_auth=["me:secret"]).code == 401, path
        assert ask(path, {"Authorization": "Basic bWU6d3Jvbmc="}, basic_auth=["me:secret"]).code == 401, path
    assert ask("/api/tasks", {**PASSWORD, "Host": "flower.example"}, basic_auth=["me:secret"]).code == 200
    assert ask("/metrics", PASSWORD, basic_auth=["me:secret"]).code == 200
    assert ask("/healthcheck", basic_auth=["me:secret"]).code == 200


def test_under_a_path_every_link_is_under_it(ask: Ask) -> None:
    found = ask("/of/flower/tasks", url_prefix="of/flower")
    assert found.code == 200
    assert b'"/of/flower/static/' in found.body
    assert b'"/static/' not in found.body
    assert ask("/of/flower/metrics", basic_auth=["me:secret"], url_prefix="of/flower").code == 401
    assert ask("/tasks", url_prefix="of/flower").code == 404


# --- what it shows ---------------------------------------------------------------------------------------------------


def states(state: EventsState) -> dict[str, str]:
    return {uuid: task.state for uuid, task in state.tasks.items()}


def counted() -> list[float]:
    return [
        sample.value
        for family in REGISTRY.collect()
        if family.name in ("flower_events", "flower_task_runtime_seconds")
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


def test_its_history_is_the_last_attempt_at_each_batch_and_counts_for_nothing(store: Store) -> None:
    # Given batches that are done, that run, that failed for a while and for good, that were cancelled, and that wait
    done = make_job(store, name="nightly")
    (finished,) = add_batches(store, done, (3,))
    run_job(store, done, errors=(1,))
    runs, fails, dies, waits = add_batches(store, make_job(store), (1, 1, 1, 1))
    store.attempts.claim(runs.id, "w@h", 60)
    store.attempts.claim(fails.id, "w@h", 60)
    store.attempts.fail(fails.id, 1, "decode_failed", "it is unwell")
    store.attempts.claim(dies.id, "w@h", 60)
    store.attempts.fail(dies.id, 1, "file_changed", "it has changed", final=True)
    stopped = make_job(store)
    (cancelled,) = add_batches(store, stopped, (1,))
    store.attempts.claim(cancelled.id, "w@h", 60)
    store.jobs.cancel(stopped.id)
    store.attempts.cancel_running(cancelled.id, 1)
    # When Flower starts
    state, before = EventsState(max_tasks_in_memory=100), counted()
    flower_history.replay(state, reversed(store.attempts.latest(100)))
    # Then it shows each as it is in SQL, with all that belongs to it; what was never tried is no attempt
    assert states(state) == {
        f"{finished.id}.1": "SUCCESS",
        f"{runs.id}.1": "STARTED",
        f"{fails.id}.1": "RETRY",
        f"{dies.id}.1": "FAILURE",
        f"{cancelled.id}.1": "REVOKED",
    }
    task = state.tasks[f"{finished.id}.1"]
    assert (task.result, task.worker.hostname) == ("3 rows, 1 errors", "worker")
    assert ast.literal_eval(task.kwargs) == {"rows": 3, "attempt": 1, "job": "nightly"}
    assert 0 < task.received == task.started <= task.succeeded
    assert state.tasks[f"{fails.id}.1"].exception == "it is unwell"
    assert waits.id not in str(states(state))
    # And it finds them, and counts them for their worker, but not again for Prometheus
    assert state.search_engine.search(state.tasks, "state:FAILURE").task_ids == [f"{dies.id}.1"]
    assert state.search_engine.search(state.tasks, "kwargs:job=nightly").task_ids == [f"{finished.id}.1"]
    assert (state.counter["w@h"]["task-received"], state.counter["w@h"]["task-failed"]) == (4, 1)
    assert counted() == before
    # And the latest are kept where there are more than it may show
    assert [attempt.batch_id for attempt in store.attempts.latest(2)] == [cancelled.id, dies.id]


def test_what_it_was_not_told_of_does_not_run_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given four attempts that run as far as Flower knows: one does; one has ended; one was followed by another; the job
    # of one was removed
    monkeypatch.setattr(flower_history, "_TOLD_WITHIN", -60.0)
    runs, ends, fails = add_batches(store, make_job(store), (1, 1, 1))
    gone = make_job(store)
    (removed,) = add_batches(store, gone, (1,))
    for batch in (runs, ends, fails, removed):
        store.attempts.claim(batch.id, "w@h", 60)
    state = EventsState(max_tasks_in_memory=100)
    flower_history.replay(state, store.attempts.latest(100))
    store.attempts.fail(ends.id, 1, "file_changed", "it has changed", final=True)
    store.attempts.fail(fails.id, 1, "decode_failed", "it is unwell")
    store.attempts.claim(fails.id, "other@h", 60)
    store.jobs.cancel(gone.id)
    store.attempts.cancel_running(removed.id, 1)
    store.jobs.remove(gone.id)
    # When it looks them up
    shown = flower_history.running(state)
    assert set(shown) == {(batch.id, 1) for batch in (runs, ends, fails, removed)}
    flower_history.mend(state, shown, flower_history.look_up(store, shown))
    # Then it shows how they ended
    assert states(state) == {
        f"{runs.id}.1": "STARTED",
        f"{ends.id}.1": "FAILURE",
        f"{fails.id}.1": "RETRY",
        f"{removed.id}.1": "REVOKED",
    }
    assert state.tasks[f"{fails.id}.1"].worker.hostname == "w@h"
    assert flower_history.running(state) == [(runs.id, 1)]


def test_what_it_was_told_since_is_not_undone_by_its_history(store: Store) -> None:
    # Given an attempt that ends between the look into SQL and the time when it is shown
    (batch,) = add_batches(store, make_job(store), (1,))
    store.attempts.claim(batch.id, "w@h", 60)
    old = store.attempts.latest(1)
    store.attempts.fail(batch.id, 1, "decode_failed", "it is unwell")
    state = EventsState(max_tasks_in_memory=100)
    flower_history.replay(state, store.attempts.latest(1))
    # Then it stays as it ended
    flower_history.replay(state, old)
    assert states(state) == {f"{batch.id}.1": "RETRY"}
