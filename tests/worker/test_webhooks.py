"""Webhooks as they are sent: signed, to the address that was looked at, and nowhere else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import pytest
from pydantic import SecretStr

from tests.builders import make_job
from tests.models.test_webhooks import SECRET, URL
from unembed.models.store import Store
from unembed.schemas import Webhook
from unembed.worker import webhooks
from unembed.worker.webhooks import Messenger

# Nothing here depends on which database it is.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PUBLIC = "93.184.216.34"


def ended_job(store: Store, url: str = URL) -> str:
    job = make_job(store, name="news", labels={"a": "b"}, webhook=Webhook(url=url, secret=SecretStr(SECRET)))
    store.jobs.cancel(job.id)
    return job.id


def messenger(
    store: Store,
    answer: Callable[[httpx2.Request], httpx2.Response],
    addresses: tuple[str, ...] = (PUBLIC,),
    private_hosts: tuple[str, ...] = (),
) -> Messenger:
    return Messenger(
        store, private_hosts, resolve=lambda host, port: list(addresses), transport=httpx2.MockTransport(answer)
    )


def test_the_end_is_told_to_the_address_that_was_looked_at(store: Store) -> None:
    # Given a job that has ended, and somebody who is to be told
    job, sent = ended_job(store), list[httpx2.Request]()

    def take(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(204)

    # When what is due is sent, twice
    teller = messenger(store, take)
    assert (teller.send_due(), teller.send_due()) == (1, 0)
    # Then it went once, to the address and not to the name, which was told all the same
    (request,) = sent
    assert (request.url.host, request.headers["host"]) == (PUBLIC, "example.org")
    assert request.extensions["sni_hostname"] == "example.org"
    told = json.loads(request.content)
    assert (told["type"], told["data"]["id"], told["data"]["labels"]) == ("job.cancelled", job, {"a": "b"})
    # And it is signed
    state = store.webhooks.of(job)
    assert request.headers["webhook-id"] == state.event
    signed = f"{state.event}.{request.headers['webhook-timestamp']}.".encode() + request.content
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    made = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{made}"
    assert state.delivered_at is not None


@pytest.mark.parametrize("addresses", [("10.0.0.1",), (PUBLIC, "127.0.0.1"), ("::ffff:169.254.169.254",)])
def test_a_name_with_a_private_address_is_not_sent_to(store: Store, addresses: tuple[str, ...]) -> None:
    # Given a name that means a private address, perhaps beside a public one
    job = ended_job(store)
    # When the end is to be told, Then nothing is sent, and the address is named
    teller = messenger(store, lambda request: pytest.fail("something was sent"), addresses)
    assert teller.send_due() == 0
    state = store.webhooks.of(job)
    assert state.error is not None
    assert "is not public" in state.error
    assert state.next_at is not None
    # But it is where the operator allows that name
    ended_job(store)
    assert messenger(store, lambda _: httpx2.Response(200), addresses, ("example.org",)).send_due() == 1


@pytest.mark.parametrize(
    ("status", "again"), [(301, True), (302, True), (404, True), (410, False), (500, True), (199, True)]
)
def test_anything_but_a_success_is_a_failure(store: Store, status: int, again: bool) -> None:
    # Given somebody who answers something else, perhaps with another place to go to
    job, asked = ended_job(store), list[str]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        return httpx2.Response(status, headers={"Location": "http://127.0.0.1/"})

    # When the end is told, Then nothing else is asked, and it is tried again unless they want no more
    assert messenger(store, answer).send_due() == 0
    state = store.webhooks.of(job)
    assert (len(asked), state.error, state.next_at is not None) == (1, f"it answered {status}; expected 2xx", again)


def test_who_cannot_be_reached_is_tried_again(store: Store) -> None:
    # Given somebody who does not answer, and a name without an address
    job = ended_job(store)

    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    def unknown(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    assert messenger(store, refuse).send_due() == 0
    assert store.webhooks.of(job).error == "it cannot be reached: refused"
    other = ended_job(store)
    assert Messenger(store, (), resolve=unknown).send_due() == 0
    assert store.webhooks.of(other).error == "example.org has no address: Name or service not known"


def test_who_is_slow_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given somebody who would never answer
    monkeypatch.setattr(webhooks, "_WITHIN", 0.05)
    job = ended_job(store)

    class _Silent(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

    # When the end is told, Then it is tried again later
    assert Messenger(store, (), resolve=lambda host, port: [PUBLIC], transport=_Silent()).send_due() == 0
    state = store.webhooks.of(job)
    assert (state.error, state.next_at is not None) == ("it did not answer within 0.05 s", True)


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    """The URL of somebody on this machine who takes webhooks, and what has come."""
    got: list[bytes] = []

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}/hook", got
    server.shutdown()
    server.server_close()
    thread.join(60)


def test_it_arrives_over_a_socket_where_that_is_allowed(store: Store, receiver: tuple[str, list[bytes]]) -> None:
    # Given somebody on this machine, and a job that has ended
    url, got = receiver
    refused = ended_job(store, url)
    # When it may not be told to private hosts, Then it is not
    assert Messenger(store, ()).send_due() == 0
    assert store.webhooks.of(refused).error is not None
    # And when it may, then it is
    allowed = ended_job(store, url)
    assert Messenger(store, ("localhost",), resolve=lambda host, port: ["127.0.0.1"]).send_due() == 1
    assert [json.loads(body)["data"]["id"] for body in got] == [allowed]
