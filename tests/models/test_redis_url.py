"""One URL of a Redis, and what redis-py, kombu and Flower are told."""

from __future__ import annotations

import ssl

import pytest
from flower.utils.broker import Broker

from unembed.errors import SettingsError
from unembed.models.redis_client import open_redis
from unembed.models.redis_url import canonical, for_broker
from unembed.models.settings import Settings, read_settings
from unembed.worker.celery import make_app


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("redis://:secret@host:6379/3", "redis://:secret@host:6379/3"),
        ("REDIS://host", "redis://host"),
        ("redis+socket:///run/redis.sock", "unix:///run/redis.sock"),
        ("redis+socket://:secret@/run/r.sock?virtual_host=2", "unix://:secret@/run/r.sock?db=2"),
        ("unix:///run/r.sock?db=2&username=me&password=a%2Fb", "unix://me:a%2Fb@/run/r.sock?db=2"),
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE", "rediss://h/0?ssl_cert_reqs=none"),
        ("rediss://h/0?ssl_ca_certs=/etc/ca.pem", "rediss://h/0?ssl_ca_certs=/etc/ca.pem"),
        ("rediss://h?ssl_check_hostname=False", "rediss://h?ssl_check_hostname=false"),
    ],
)
def test_a_url_is_read_in_the_spelling_of_celery_and_of_redis_py(
    given: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNEMBED_REDIS_URL", given)
    assert read_settings().redis_url == meant
    assert canonical(meant) == meant


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sentinel://:hunter2@h:26379/0", "Redis Sentinel is not supported; name one server, as redis://HOST:6379/0"),
        ("redis+cluster://hunter2@h", "Redis Cluster is not supported; name one server, as redis://HOST:6379/0"),
        ("redis://:a/hunter2@h:6379", "its host and port cannot be read; in a password, write"),
        ("redis://h/0?socket_timeout=5", "its query has 'socket_timeout'; with redis:// expected nothing but db"),
        ("redis://h/0?ssl_cert_reqs=none", "its query has 'ssl_cert_reqs'; with redis:// expected nothing but db"),
        ("rediss://:hunter2@h?ssl_cert_reqs=never", "its ssl_cert_reqs is none of none, optional, required"),
        ("rediss://h?ssl_check_hostname=perhaps", "its ssl_check_hostname is neither true nor false"),
        ("unix:///r.sock?db=one", "its db is not a number; expected 0, 1, ..."),
    ],
)
def test_a_url_that_not_every_part_can_use_is_refused_in_one_line(
    given: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNEMBED_REDIS_URL", given)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert caught.value.message.startswith(f"UNEMBED_REDIS_URL is set, but not usable: {said}")
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("redis://:secret@host:6379/3", "redis://:secret@host:6379/3"),
        ("redis://host?db=3", "redis://host/3"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix://:secret@/run/redis.sock?db=2", "redis+socket://:secret@/run/redis.sock?virtual_host=2"),
    ],
)
def test_a_url_of_redis_py_becomes_one_of_kombu(given: str, expected: str) -> None:
    assert for_broker(given) == (expected, None)


@pytest.mark.parametrize(
    ("query", "checks"),
    [
        ("", ssl.CERT_REQUIRED),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE),
        ("?ssl_cert_reqs=CERT_REQUIRED", ssl.CERT_REQUIRED),
    ],
)
def test_over_tls_the_queue_the_payloads_and_flower_check_the_same(query: str, checks: ssl.VerifyMode) -> None:
    # Given the URL of a Redis behind TLS
    settings = Settings(redis_url=f"rediss://:secret@127.0.0.1:6390/2{query}")
    app = make_app(settings)
    # When each library is asked how it would connect
    queue = app.connection_for_write()
    payloads = open_redis(settings.redis_url).connection_pool
    flower = Broker(app.conf.broker_url, broker_use_ssl=app.conf.broker_use_ssl, broker_options={})
    # Then all three check the certificate alike, and use the same database
    theirs = payloads.connection_class(**payloads.connection_kwargs)
    assert (queue.ssl["ssl_cert_reqs"], queue.virtual_host) == (checks, "2")
    assert (theirs.cert_reqs, theirs.db) == (checks, 2)
    assert flower.redis.connection_pool.connection_kwargs["ssl_cert_reqs"] == checks
