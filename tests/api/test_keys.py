from __future__ import annotations

import pytest

from unembed.home import is_loopback
from unembed.models.settings import Settings


def test_keys_come_from_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two keys in the environment, with blanks and an empty one
    monkeypatch.setenv("UNEMBED_API_KEYS", " one, two ,,")
    # When it is read, Then they are two
    assert [key.get_secret_value() for key in Settings().api_keys] == ["one", "two"]


def test_an_empty_variable_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a variable that is set, but empty, When it is read, Then there is no key that would open with nothing
    monkeypatch.setenv("UNEMBED_API_KEYS", "")
    assert Settings().api_keys == ()


@pytest.mark.parametrize(("host", "expected"), [("127.8.9.1", True), ("::1", True), ("0.0.0.0", False), ("", False)])
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    # Given a host, When it is looked at, Then only an address that is always this machine is loopback
    assert is_loopback(host) is expected
