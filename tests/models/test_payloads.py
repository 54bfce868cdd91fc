"""Payloads, in a real Redis."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from unembed.errors import BusyError, QueueUnavailableError, by_code
from unembed.models.payloads import PayloadDamagedError, PayloadMissingError, Payloads

DATA = bytes(range(256)) * 4
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def payloads(redis_url: str) -> Iterator[Payloads]:
    payloads = Payloads.at(redis_url, ttl=60)
    yield payloads
    payloads.close()


def test_a_payload_comes_back_byte_for_byte(payloads: Payloads) -> None:
    payloads.put("job-0", DATA)
    assert payloads.get("job-0", SHA) == DATA
    # And is still there: it is deleted when its rows are committed, not when it is read
    assert payloads.present(["job-0"]) == ["job-0"]


def test_the_same_payload_again_is_no_error(payloads: Payloads) -> None:
    payloads.put("job-0", b"half of it")
    payloads.put("job-0", DATA)
    assert payloads.get("job-0", SHA) == DATA


def test_a_payload_that_is_there_can_be_left_as_it_is(payloads: Payloads) -> None:
    # Given the payload of a batch that was accepted, and an upload of the same batch that will be refused
    assert payloads.put("job-0", DATA, replace=False)
    assert payloads.put("job-0", b"other", replace=False) is False
    assert payloads.get("job-0", SHA) == DATA


def test_a_payload_that_is_gone_is_missing(payloads: Payloads) -> None:
    with pytest.raises(
        PayloadMissingError, match=r"batch job-0 has no payload in Redis at unix://.*expired after 60 s.*submit"
    ):
        payloads.get("job-0", SHA)


def test_a_payload_that_was_changed_is_damaged(payloads: Payloads) -> None:
    payloads.put("job-0", DATA[:-1])
    with pytest.raises(PayloadDamagedError, match=rf"batch job-0, 1023 bytes, .* expected {SHA}"):
        payloads.get("job-0", SHA)


def test_payloads_are_deleted_and_those_of_others_stay(payloads: Payloads) -> None:
    for batch_id in ("job-0", "job-1", "job-2"):
        payloads.put(batch_id, DATA)
    payloads.delete(["job-0", "job-2", "nothing-0"])
    payloads.delete([])
    assert payloads.present([f"job-{n}" for n in range(3)]) == ["job-1"]
    assert payloads.batch_ids() == {"job-1"}


def test_a_payload_does_not_stay_for_ever(payloads: Payloads) -> None:
    payloads.put("job-0", DATA)
    (key,) = payloads.redis.keys("*")
    assert 0 < payloads.redis.ttl(key) <= 60


def test_a_full_redis_asks_to_come_back_later(payloads: Payloads) -> None:
    # Given a Redis without room
    payloads.redis.config_set("maxmemory", "1")
    payloads.redis.config_set("maxmemory-policy", "noeviction")
    try:
        with pytest.raises(BusyError, match=f"no room for batch job-0, {len(DATA)} bytes"):
            payloads.put("job-0", DATA)
    finally:
        payloads.redis.config_set("maxmemory", "0")


def test_a_redis_that_is_down_is_named_without_its_password(tmp_path: Path) -> None:
    for url, named in (
        ("redis://:secret@127.0.0.1:1/3", "redis://127.0.0.1:1/3"),
        (f"unix://:secret@{tmp_path}/no.sock", f"unix://{tmp_path}/no.sock"),
    ):
        payloads = Payloads.at(url, ttl=60)
        for call in (payloads.ping, lambda p=payloads: p.put("job-0", DATA), lambda p=payloads: p.get("job-0", SHA)):
            with pytest.raises(QueueUnavailableError) as raised:
                call()
            assert named in raised.value.message
            assert "secret" not in raised.value.message
        payloads.close()


def test_a_wrong_password_is_said_to_be_one(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as admin:
        admin.config_set("requirepass", "right")
    wrong = Payloads.at(redis_url, ttl=60)
    try:
        with pytest.raises(QueueUnavailableError, match=r"(?i)auth"):
            wrong.ping()
    finally:
        wrong.close()
        with redis.Redis.from_url(redis_url, password="right") as admin:
            admin.config_set("requirepass", "")


def test_the_errors_are_found_by_their_codes() -> None:
    assert by_code()["payload_missing"] is PayloadMissingError
    assert by_code()["payload_damaged"] is PayloadDamagedError
