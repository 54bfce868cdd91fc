"""Webhooks in the store: due when their job has ended, tried again, given up."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from sqlalchemy import update

from tests.builders import add_batches, generations, make_job
from unembed.errors import InputError, NotFoundError
from unembed.models.clock import now
from unembed.models.store import DueWebhook, Store
from unembed.models.store.webhooks import PAUSES
from unembed.models.tables import WebhookRow
from unembed.schemas import Batch, Timings
from unembed.webhooks import Webhook, is_public, require_allowed, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://example.org/hook"
HOOK = Webhook(url=URL, secret=SecretStr(SECRET))


def end(store: Store, batch: Batch) -> None:
    claim = store.attempts.claim(batch.id, "worker", 60)
    assert claim is not None
    assert store.attempts.finish(batch.id, claim.attempt, generations(batch), Timings())


def make_due_again(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(update(WebhookRow).values(next_at=now(-1)))


def test_the_end_of_a_job_is_due_once(store: Store) -> None:
    # Given a job with a webhook, and one without
    job = make_job(store, webhook=HOOK)
    (batch,) = add_batches(store, job, [2])
    (other,) = add_batches(store, make_job(store), [2])
    assert store.webhooks.take_due() is None
    # When both have ended, Then that of the first is to be told, by one of those who ask
    end(store, batch)
    end(store, other)
    due = store.webhooks.take_due()
    assert due is not None
    assert (due.job_id, due.url, due.secret, due.attempts) == (job.id, URL, SECRET, 1)
    assert SECRET not in repr(due)
    assert store.webhooks.take_due() is None
    # And when it was told, then never again
    store.webhooks.delivered(due)
    make_told = store.webhooks.of(job.id)
    assert (make_told.event, make_told.next_at, make_told.delivered_at is not None) == (due.event, None, True)
    # And it goes with its job
    store.jobs.remove(job.id)
    with pytest.raises(NotFoundError):
        store.webhooks.of(job.id)


def test_what_was_not_taken_is_tried_again_until_it_is_given_up(store: Store) -> None:
    # Given a webhook that fails each time
    job = make_job(store, webhook=HOOK)
    store.jobs.cancel(job.id)
    attempts: list[DueWebhook] = []
    for _ in range(len(PAUSES) + 1):
        due = store.webhooks.take_due()
        assert due is not None
        attempts.append(due)
        store.webhooks.failed(due, "it answered 500")
        make_due_again(store) if len(attempts) <= len(PAUSES) else None
    # Then each attempt has the same event, and after the last there is none
    assert {due.event for due in attempts} == {attempts[0].event}
    state = store.webhooks.of(job.id)
    assert (state.attempts, state.next_at, state.error) == (len(PAUSES) + 1, None, "it answered 500")


def test_a_job_that_goes_on_tells_its_next_end(store: Store) -> None:
    # Given a job that ended with a dead batch, which nobody was told yet
    job = make_job(store, webhook=HOOK)
    done, dead = add_batches(store, job, [2, 2])
    end(store, done)
    claim = store.attempts.claim(dead.id, "worker", 60)
    assert claim is not None
    store.attempts.fail(dead.id, claim.attempt, "decode_failed", "no", final=True)
    before = store.webhooks.of(job.id).event
    # When the batch is tried again, Then nothing is due until the job has ended again
    store.requeue.retry(job.id, {dead.id})
    assert store.webhooks.take_due() is None
    end(store, dead)
    due = store.webhooks.take_due()
    assert due is not None
    assert due.event != before
    # And what is learnt of the earlier event by then is of no account
    store.webhooks.failed(DueWebhook(job.id, URL, SECRET, before or "", 1), "late", final=True)
    assert store.webhooks.of(job.id).error is None


def test_a_webhook_may_change_under_the_same_key(store: Store) -> None:
    job = make_job(store, idempotency_key="k", webhook=HOOK)
    other = Webhook(url="https://example.org/other", secret=SecretStr(SECRET))
    assert make_job(store, idempotency_key="k", webhook=other).id == job.id
    assert store.webhooks.of(job.id).url == "https://example.org/other"
    assert make_job(store, idempotency_key="k").id == job.id
    assert store.webhooks.of(job.id).url == "https://example.org/other"


def test_it_is_signed_as_standard_webhooks_say() -> None:
    # Given the example of the specification, When it is signed, Then it is verified by the library of those who made it
    standardwebhooks = pytest.importorskip("standardwebhooks", reason="the test's alone")
    import time

    body, stamp = b'{"test": 2432232314}', int(time.time())
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": str(stamp),
        "webhook-signature": signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", stamp, body),
    }
    assert standardwebhooks.Webhook(SECRET).verify(body.decode(), headers) == {"test": 2432232314}


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org",
        "https://",
        "https://user:pw@example.org/",
        "https://example.org:99999/",
        "//x",
        "https://a b",
    ],
)
def test_a_url_that_nothing_can_be_sent_to_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"https://example\.org/hook"):
        Webhook(url=url, secret=SecretStr(SECRET))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!", SECRET.removeprefix("whsec_")])
def test_a_secret_that_is_too_short_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(InputError, match="24 to 64 bytes"):
        Webhook(url=URL, secret=SecretStr(secret))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_private_addresses_are_told_from_public_ones(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "url", ["http://example.org/", "https://127.0.0.1/", "https://[::1]/", "https://192.168.0.7:8/"]
)
def test_what_is_known_to_be_private_is_refused_at_once(url: str) -> None:
    with pytest.raises(InputError, match="the webhook's URL is"):
        require_allowed(url, ["internal.example"])
    require_allowed("http://Internal.Example:8080/hook", ["INTERNAL.example"])
    require_allowed(URL, [])
