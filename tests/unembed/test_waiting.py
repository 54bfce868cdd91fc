"""How a client waits for a job: the server says when there is news, and one that cannot is asked now and then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Hand
from unembed.client import Client
from unembed.errors import InputError, JobFailedError
from unembed.job import JobHandle
from unembed.schemas import Job, JobState

WAIT = 60  # seconds; the machine may be busy


class Watched(httpx2.HTTPTransport):
    """Remembers what passes, and calls `then` before each request."""

    def __init__(self, then: Callable[[int], object] = lambda _: None) -> None:
        super().__init__()
        self.looks: list[httpx2.Request] = []
        self._then = then

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and request.url.path.startswith("/v1/jobs/"):
            self.looks.append(request)
            self._then(len(self.looks))
        return super().handle_request(request)


def queued(url: str) -> Job:
    with Client(url) as client:
        return client.submit(np.ones((25, DIM), np.float32), decoder=DECODER, batch_size=10).job


def described(state: str, done: int = 0) -> dict[str, Any]:
    """A job as an older server shows it."""
    return {
        "id": "some-job", "state": state, "decoder": "d", "embedding_dim": 4, "seed": 0, "options": {},
        "rows": {"total": 9, "ok": done}, "batches": {}, "timings": {}, "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def test_the_server_is_asked_once_to_answer_at_the_end(url: str, hand: Hand) -> None:
    # Given a job that is decoded while it is waited for
    job = queued(url)
    watched = Watched(lambda _: threading.Thread(target=hand.work).start())
    with Client(url, transport=watched) as client:
        # When nobody wants to hear of its progress, Then one look is enough
        assert JobHandle(client, job).wait(WAIT).job.state is JobState.SUCCEEDED
    assert [look.headers.get("Prefer") for look in watched.looks] == ["wait=30"]


def test_whoever_listens_is_told_of_each_change_and_of_nothing_else(url: str, hand: Hand) -> None:
    # Given a job of three batches, of which one more is done after each look
    job, seen = queued(url), list[int]()

    def told(job: Job) -> None:
        seen.append(job.rows.written)
        hand.work(limit=1)

    watched = Watched()
    with Client(url, transport=watched) as client:
        JobHandle(client, job).wait(WAIT, progress=told)
    # Then there were as many looks as changes, each from what was known before
    assert seen == [0, 10, 20, 25]
    assert [("If-None-Match" in look.headers, look.headers.get("Prefer")) for look in watched.looks] == [
        (False, None), (True, "wait=5"), (True, "wait=5"), (True, "wait=5"),
    ]  # fmt: skip


def test_whoever_listens_is_told_now_and_then_although_nothing_changes(url: str) -> None:
    # Given a job that nobody takes, When it is followed for two seconds with a poll of one
    job, states = queued(url), list[JobState]()
    with Client(url) as client, pytest.raises(TimeoutError):
        states.extend(seen.state for seen in JobHandle(client, job).follow(timeout=2.5, poll=1))
    # Then it was shown again, as it was
    assert len(states) >= 2
    assert set(states) == {JobState.QUEUED}


def test_an_older_server_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server that knows neither how to wait nor tags
    answers = [described("queued"), described("running", 3), described("running", 3), described("succeeded", 9)]

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=answers.pop(0))

    pauses: list[float] = []
    with Client("http://server:1", transport=httpx2.MockTransport(answer)) as client:
        monkeypatch.setattr(client._api, "_sleep", pauses.append)
        # When a job is waited for, Then there is a pause between two looks, and it ends
        job = JobHandle(client, Job.model_validate(described("queued"))).wait()
    assert job.job.state is JobState.SUCCEEDED
    assert len(pauses) == 3
    assert all(0 < pause <= 0.1 for pause in pauses)


def test_a_server_that_goes_down_in_between_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server that breaks off the long answer, and a proxy that is tired of it
    answers: list[Any] = [
        described("queued"), httpx2.ReadError("gone"), httpx2.Response(504), described("succeeded", 9),
    ]  # fmt: skip

    def answer(_request: httpx2.Request) -> httpx2.Response:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx2.Response) else httpx2.Response(200, json=found)

    with Client("http://server:1", transport=httpx2.MockTransport(answer)) as client:
        monkeypatch.setattr(client._api, "_sleep", lambda _: None)
        # When a job is waited for, Then the wait survives it
        job = JobHandle(client, Job.model_validate(described("queued")))
        assert job.wait().job.state is JobState.SUCCEEDED


def test_a_job_that_has_failed_is_an_error_with_its_reason() -> None:
    # Given a job that has failed, When it is waited for, Then why is said, and its handle knows
    failed = described("failed") | {"error": "no GPU"}
    with Client(
        "http://server:1", transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=failed))
    ) as client:
        job = JobHandle(client, Job.model_validate(described("queued")))
        with pytest.raises(JobFailedError, match="the job some-job has failed: no GPU"):
            job.wait()
        assert job.wait(check=False).job.state is JobState.FAILED


@pytest.mark.parametrize("how", [{"timeout": "soon"}, {"timeout": -1}, {"poll": "often"}, {"poll": float("nan")}])
def test_a_time_that_is_none_is_refused(url: str, how: dict[str, Any]) -> None:
    with Client(url) as client, pytest.raises(InputError, match="expected a number of seconds"):
        list(JobHandle(client, queued(url)).follow(**how))


def test_ctrl_c_ends_the_wait_at_once_and_says_how_to_go_on(url: str) -> None:
    # Given a script that waits for a job which nobody decodes
    job = queued(url)
    script = (
        "from unembed import Client\n"
        f"job = Client({url!r}).job({job.id!r})\n"
        "job.wait(progress=lambda job: print('waiting', flush=True))\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        # When somebody presses Ctrl-C while the server holds the answer
        assert running.stdout is not None
        assert running.stdout.readline() == "waiting\n"
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=WAIT)
    finally:
        running.kill()
    # Then the last lines say that it goes on, and how to come back
    assert err.splitlines()[-2:] == [
        "KeyboardInterrupt",
        f"The job goes on without you. To wait for it again: client.job('{job.id}').wait()",
    ]
    with Client(url) as client:
        assert client.job(job.id).job.state is JobState.QUEUED
