"""The environment, read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from unembed.models.settings import Settings


def test_without_an_environment_there_are_defaults() -> None:
    settings = Settings()
    assert settings.database_url == "sqlite:///unembed.db"
    assert settings.host == "127.0.0.1"
    assert settings.api_keys == ()


def test_a_setting_is_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNEMBED_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("UNEMBED_API_KEYS", "one, two,")
    settings = Settings()
    assert settings.database_url == "postgresql://h/d"
    assert settings.api_keys == ("one", "two")


def test_payloads_are_in_the_redis_of_the_queue_unless_told_otherwise() -> None:
    assert Settings(redis_url="redis://a").payload_redis_url == "redis://a"
    assert Settings(redis_url="redis://a", payload_url="redis://b").payload_redis_url == "redis://b"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1


def test_a_lease_shorter_than_two_heartbeats_is_refused_naming_both() -> None:
    assert Settings(lease=30.0, heartbeat=15.0).lease == 30.0
    with pytest.raises(ValidationError, match=r"the lease is 20\.0 s and the heartbeat 15\.0 s"):
        Settings(lease=20.0, heartbeat=15.0)
