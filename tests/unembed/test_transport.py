from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

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
from unembed.schemas import PROBLEM_JSON, Job, Problem
from unembed.transport import LONGEST_DELAY, Transport

Answer = httpx2.Response | Exception


def problem(status: int, code: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    body = Problem(title="t", status=status, detail="the detail", code=code).model_dump_json()
    return httpx2.Response(status, content=body, headers={"Content-Type": PROBLEM_JSON, **(headers or {})})


def transport(*answers: Answer, retries: int = 3, **more: Any) -> tuple[Transport, list[httpx2.Request], list[float]]:
    """A transport to a server that gives these answers, one after the other; its requests, and its pauses."""
    requests: list[httpx2.Request] = []
    pauses: list[float] = []
    waiting = list(answers)

    def handle(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        answer = waiting.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    made = Transport(
        "http://server:1/",
        "secret",
        timeout=1,
        retries=retries,
        transport=httpx2.MockTransport(handle),
        sleep=pauses.append,
        **more,
    )
    return made, requests, pauses


def test_the_key_travels_as_a_bearer_token() -> None:
    # Given a transport with a key, When it sends, Then the key is in the header
    sender, requests, _ = transport(httpx2.Response(200))
    sender.send("GET", "/x")
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
def test_what_may_pass_is_tried_again_with_growing_pauses(failure: Callable[[], Answer]) -> None:
    # Given a server that fails twice
    sender, requests, pauses = transport(failure(), failure(), httpx2.Response(200, content=b"at last"))
    # When a request is sent, Then it succeeds in the end, after two pauses of which the second is longer
    assert sender.send("PUT", "/x", content=b"body").content == b"at last"
    assert [request.content for request in requests] == [b"body"] * 3
    assert 0.1 <= pauses[0] <= 0.2 <= pauses[1] <= 0.4


def test_the_server_says_how_long_to_wait_up_to_a_limit() -> None:
    # Given a server that asks for seven seconds, for too long, and for what is no number
    answers = [problem(503, "unavailable", {"Retry-After": after}) for after in ("7", "86400", "soon")]
    sender, _, pauses = transport(*answers, httpx2.Response(200))
    # When a request is sent, Then the pauses follow the first, cap the second and fall back for the third
    sender.send("GET", "/x")
    assert pauses[:2] == [7, LONGEST_DELAY]
    assert pauses[2] < 1


def test_a_busy_server_is_asked_again_as_often_as_it_takes() -> None:
    # Given a server that is busy more often than a request may fail
    told: list[tuple[str, float]] = []
    busy = [problem(429, "busy", {"Retry-After": "5"}) for _ in range(20)]
    sender, requests, pauses = transport(*busy, httpx2.Response(200), retries=0, busy=lambda *why: told.append(why))
    # When a request is sent, Then it waits as long as it was asked to, says why, and succeeds
    sender.send("PUT", "/x")
    assert len(requests) == 21
    assert pauses == [5] * 20
    assert told == [("the detail", 5)] * 20


def test_a_server_that_stays_busy_is_given_up_after_a_while() -> None:
    # Given a server that is always busy, When it has been for longer than the client waits, Then that is the error
    sender, requests, _ = transport(problem(429, "busy", {"Retry-After": "5"}), busy_timeout=4)
    with pytest.raises(BusyError, match="the detail"):
        sender.send("PUT", "/x")
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
    sender, requests, pauses = transport(failure())
    stop = threading.Event()
    stop.set()
    with pytest.raises(kind):
        sender.send("PUT", "/x", stop=stop)
    assert (len(requests), pauses) == (1, [])


def test_no_server_is_unavailable_and_names_the_address() -> None:
    # Given nothing that answers
    sender, requests, _ = transport(*[httpx2.ConnectError("refused")] * 4)
    # When all tries are used up, Then the error names where and why
    with pytest.raises(UnavailableError, match=r"no server answers at http://server:1: refused"):
        sender.send("GET", "/x")
    assert len(requests) == 4


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (problem(409, "conflict"), ConflictError),
        (problem(401, "auth"), AuthError),
        (problem(404, "not_found"), NotFoundError),
        (problem(500, "unembed"), UnembedError),
        (problem(418, "of_a_later_version"), UnembedError),
    ],
)
def test_a_problem_is_raised_as_its_class_and_not_tried_again(answer: httpx2.Response, kind: type[Exception]) -> None:
    # Given a problem document, When it arrives, Then it is the class of its code, with the server's words, at once
    sender, requests, _ = transport(answer)
    with pytest.raises(kind, match=r"^the detail$") as caught:
        sender.send("GET", "/x")
    assert type(caught.value) is kind
    assert len(requests) == 1


def test_a_problem_that_does_not_pass_is_raised_in_the_end() -> None:
    # Given a queue that stays down, When all tries are used up, Then the class says which part it is
    sender, _, _ = transport(*[problem(503, "queue_unavailable") for _ in range(4)])
    with pytest.raises(QueueUnavailableError, match="the detail"):
        sender.send("GET", "/x")


@pytest.mark.parametrize(("status", "kind"), [(502, UnavailableError), (404, NotFoundError), (429, BusyError)])
def test_an_answer_that_is_not_of_this_api_says_so(status: int, kind: type[Exception]) -> None:
    # Given a proxy's page, When it arrives, Then the error names the address, the status and the text
    sender, _, _ = transport(*[httpx2.Response(status, text="<html>")] * 4, busy_timeout=0)
    with pytest.raises(kind, match=rf"http://server:1 answered {status} .*<html>"):
        sender.send("GET", "/x")


def test_a_body_of_another_version_is_no_traceback_of_pydantic() -> None:
    # Given an answer without the fields of a job, When it is read as one, Then the error asks about the version
    sender, _, _ = transport(httpx2.Response(200, json={"id": "x"}))
    with pytest.raises(UnembedError, match="another version"):
        sender.fetch(Job, "GET", "/x")


@pytest.mark.parametrize("url", ["localhost:8765", "ftp://host", "http://", ""])
def test_a_url_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    # Given no HTTP address, When a transport is made, Then the value is named
    with pytest.raises(InputError, match="must look like"):
        Transport(url, None, timeout=1, retries=0)
