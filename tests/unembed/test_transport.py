from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Protocol

import httpx2
import pytest

from unembed.calls import requests as requests_of_jobs
from unembed.calls.remote import LONGEST_DELAY, RemoteServer
from unembed.calls.steps import Call
from unembed.errors import (
    AuthError,
    BusyError,
    ConflictError,
    InputError,
    NotFoundError,
    QueueUnavailableError,
    UnavailableError,
    UnembedError,
)
from unembed.schemas import PROBLEM_JSON, Problem
from unembed.transport import AsyncTransport, Transport

Answer = httpx2.Response | Exception
Sent = tuple["Sender", list[httpx2.Request], list[float]]
Transports = Callable[..., Sent]


def call(
    method: str, path: str, read: Callable[[httpx2.Response], Any] = lambda answer: answer, **more: Any
) -> Call[Any]:
    return Call(method, path, read, **more)


def problem(status: int, code: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    body = Problem(title="t", status=status, detail="the detail", code=code).model_dump_json()
    return httpx2.Response(status, content=body, headers={"Content-Type": PROBLEM_JSON, **(headers or {})})


class Sender(Protocol):
    def send(self, call: Call[Any]) -> Any: ...


class _Awaited:
    """An AsyncTransport whose sends are awaited here."""

    def __init__(self, made: Callable[[], AsyncTransport]) -> None:
        self._made = made

    def send(self, call: Call[Any]) -> Any:
        return asyncio.run(self._made().send(call))


@pytest.fixture(params=["that waits", "that awaits"])
def transport(request: pytest.FixtureRequest) -> Transports:
    """Makes a sender, of one kind or the other, to a server that gives these answers, one after the other. Gives the
    sender, and what will be its requests and its pauses."""

    def made(*answers: Answer, retries: int = 3, busy_timeout: float = 3600, **more: Any) -> Sent:
        requests: list[httpx2.Request] = []
        pauses: list[float] = []
        waiting = list(answers)

        def handle(request: httpx2.Request) -> httpx2.Response:
            requests.append(request)
            answer = waiting.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)

        settings = {"timeout": 1, "retries": retries, "busy_timeout": busy_timeout, "busy": lambda *_: None}
        server = RemoteServer("http://server:1/", "secret", **{**settings, **more})
        mock = httpx2.MockTransport(handle)
        if request.param == "that waits":
            return Transport(server, mock, pauses.append), requests, pauses
        return _Awaited(lambda: AsyncTransport(server, mock, sleep)), requests, pauses

    return made


def test_the_key_travels_as_a_bearer_token(transport: Transports) -> None:
    # Given a transport with a key, When it sends, Then the key is in the header
    sender, requests, _ = transport(httpx2.Response(200))
    sender.send(call("GET", "/x"))
    assert requests[0].headers["Authorization"] == "Bearer secret"
    assert str(requests[0].url) == "http://server:1/x"


@pytest.mark.parametrize(
    "failure",
    [
        lambda: httpx2.ConnectError("refused"),
        lambda: httpx2.ReadTimeout("late"),
        lambda: httpx2.RemoteProtocolError("hung up"),
        lambda: httpx2.Response(429),
        lambda: httpx2.Response(503),
    ],
)
def test_what_may_pass_is_tried_again_with_growing_pauses(failure: Callable[[], Answer], transport: Transports) -> None:
    # Given a server that fails twice
    sender, requests, pauses = transport(failure(), failure(), httpx2.Response(200, content=b"at last"))
    # When a request is sent, Then it succeeds in the end, after two pauses of which the second is longer
    assert sender.send(call("PUT", "/x", content=b"body")).content == b"at last"
    assert [request.content for request in requests] == [b"body"] * 3
    assert 0.1 <= pauses[0] <= 0.2 <= pauses[1] <= 0.4


def test_the_server_says_how_long_to_wait_up_to_a_limit(transport: Transports) -> None:
    # Given a server that asks for seven seconds, a quarter of one, a date, too long, and for what is no number
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    asked = [("Retry-After", "7"), ("Retry-After-Ms", "250"), ("Retry-After", date)]
    asked += [("Retry-After", "86400"), ("Retry-After", "soon")]
    answers = [problem(503, "unavailable", {name: after}) for name, after in asked]
    sender, _, pauses = transport(*answers, httpx2.Response(200), retries=5)
    # When a request is sent, Then the pauses follow them, cap what is too long and fall back for what is none
    sender.send(call("GET", "/x"))
    assert pauses[:2] == [7, 0.25]
    assert 10 < pauses[2] <= 20
    assert pauses[3] == LONGEST_DELAY
    assert pauses[4] < 4


def test_a_busy_server_is_asked_again_as_often_as_it_takes(transport: Transports) -> None:
    # Given a server that is busy more often than a request may fail
    told: list[tuple[str, float]] = []
    busy = [problem(429, "busy", {"Retry-After": "5"}) for _ in range(20)]
    sender, requests, pauses = transport(*busy, httpx2.Response(200), retries=0, busy=lambda *why: told.append(why))
    # When a request is sent, Then it waits as long as it was asked to, says why, and succeeds
    sender.send(call("PUT", "/x"))
    assert len(requests) == 21
    assert pauses == [5] * 20
    assert told == [("the detail", 5)] * 20


def test_a_server_that_stays_busy_is_given_up_after_a_while(transport: Transports) -> None:
    # Given a server that is always busy, When it has been for longer than the client waits, Then that is the error
    sender, requests, _ = transport(problem(429, "busy", {"Retry-After": "5"}), busy_timeout=4)
    with pytest.raises(BusyError, match="the detail"):
        sender.send(call("PUT", "/x"))
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (lambda: problem(429, "busy", {"Retry-After": "30"}), BusyError),
        (lambda: problem(503, "unavailable", {"Retry-After": "30"}), UnavailableError),
        (lambda: httpx2.ConnectError("refused"), UnavailableError),
    ],
)
def test_who_is_told_to_stop_waits_no_longer(failure: Callable[[], Answer], kind: type[Exception]) -> None:
    # Given a request that would be tried again later, When it is told to stop, Then it ends with what it met
    def answer(_request: httpx2.Request) -> httpx2.Response:
        met = failure()
        if isinstance(met, Exception):
            raise met
        return met

    stop = threading.Event()
    stop.set()
    server = RemoteServer("http://server:1", None, timeout=1, retries=3, busy_timeout=60, busy=lambda *_: None)
    sender = Transport(server, httpx2.MockTransport(answer), sleep=lambda _: pytest.fail("it sleeps"))
    with pytest.raises(kind):
        sender.run(server.ask(call("PUT", "/x")), stop)


def test_no_server_is_unavailable_and_names_the_address(transport: Transports) -> None:
    # Given nothing that answers
    sender, requests, _ = transport(*[httpx2.ConnectError("refused")] * 4)
    # When all tries are used up, Then the error names where and why
    with pytest.raises(UnavailableError, match=r"no server answers at http://server:1: refused"):
        sender.send(call("GET", "/x"))
    assert len(requests) == 4


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "conflict", ConflictError),
        (401, "auth", AuthError),
        (404, "not_found", NotFoundError),
        (500, "unembed", UnembedError),
        (418, "of_a_later_version", UnembedError),
    ],
)
def test_a_problem_is_raised_as_its_class_and_not_tried_again(
    status: int, code: str, kind: type[Exception], transport: Transports
) -> None:
    # Given a problem document, When it arrives, Then it is the class of its code, with the server's words, at once
    sender, requests, _ = transport(problem(status, code))
    with pytest.raises(kind, match=r"^the detail$") as caught:
        sender.send(call("GET", "/x"))
    assert type(caught.value) is kind
    assert len(requests) == 1


def test_a_problem_that_does_not_pass_is_raised_in_the_end(transport: Transports) -> None:
    # Given a queue that stays down, When all tries are used up, Then the class says which part it is
    sender, _, _ = transport(*[problem(503, "queue_unavailable") for _ in range(4)])
    with pytest.raises(QueueUnavailableError, match="the detail"):
        sender.send(call("GET", "/x"))


@pytest.mark.parametrize(("status", "kind"), [(502, UnavailableError), (404, NotFoundError), (429, BusyError)])
def test_an_answer_that_is_not_of_this_api_says_so(status: int, kind: type[Exception], transport: Transports) -> None:
    # Given a proxy's page, When it arrives, Then the error names the address, the status and the text
    sender, _, _ = transport(*[httpx2.Response(status, text="<html>")] * 4, busy_timeout=0)
    with pytest.raises(kind, match=rf"http://server:1 answered {status} .*<html>"):
        sender.send(call("GET", "/x"))


def test_a_body_of_another_version_is_no_traceback_of_pydantic(transport: Transports) -> None:
    # Given an answer without the fields of a job, When it is read as one, Then the error asks about the version
    sender, _, _ = transport(httpx2.Response(200, json={"id": "x"}))
    with pytest.raises(UnembedError, match="another version"):
        sender.send(call("GET", "/x", requests_of_jobs.job("x").read))


@pytest.mark.parametrize(
    "url", ["localhost:8765", "ftp://host", "http://", "", "http://[::1", "http://host:port", 5, None]
)
def test_a_url_that_is_none_is_refused_before_anything_is_sent(url: Any) -> None:
    # Given no HTTP address, When a transport is made, Then the value is named
    with pytest.raises(InputError, match="must look like"):
        RemoteServer(url, None, timeout=1, retries=0, busy_timeout=0, busy=lambda *_: None)
