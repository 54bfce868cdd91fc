"""The environment, read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import ValidationError

from unembed.errors import SettingsError
from unembed.models import environment
from unembed.models.settings import Settings, read_settings, without_password
from unembed.models.settings_table import settings_table


@pytest.fixture(autouse=True)
def _nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_warned", set())


def test_without_an_environment_there_are_defaults() -> None:
    settings = read_settings()
    assert settings.database_url == "sqlite:///unembed.db"
    assert settings.host == "127.0.0.1"
    assert settings.api_keys == ()


def test_a_setting_is_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNEMBED_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("UNEMBED_API_KEYS", "one, two,")
    settings = read_settings()
    assert settings.database_url == "postgresql://h/d"
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two"]


def test_an_argument_counts_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNEMBED_PORT", "1000")
    assert read_settings(port=2000).port == 2000


@pytest.mark.parametrize("field", Settings.model_fields)
def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setenv(f"UNEMBED_{field.upper()}", "")
    assert read_settings() == Settings()


@pytest.mark.parametrize(
    ("given", "seconds"), [("90", 90), ("90.5", 90.5), ("90s", 90), ("5m", 300), ("2 h", 7200), ("7D", 604_800)]
)
def test_a_duration_may_have_a_unit(monkeypatch: pytest.MonkeyPatch, given: str, seconds: float) -> None:
    monkeypatch.setenv("UNEMBED_LEASE", given)
    monkeypatch.setenv("UNEMBED_JOB_TTL", given)
    settings = read_settings()
    assert (settings.lease, settings.job_ttl) == (seconds, seconds)


@pytest.mark.parametrize(
    ("given", "nbytes"), [("65536", 65_536), ("64MB", 64_000_000), ("64 MiB", 67_108_864), ("4GiB", 4_294_967_296)]
)
def test_a_size_may_have_a_unit(monkeypatch: pytest.MonkeyPatch, given: str, nbytes: int) -> None:
    monkeypatch.setenv("UNEMBED_MAX_BATCH_BYTES", given)
    assert read_settings().max_batch_bytes == nbytes


_DURATION = "a number of seconds, or one with a unit: 90, 90s, 5m, 2h, 7d"
_SIZE = "a number of bytes, or one with a unit: 65536, 64MB, 4GiB"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LEASE", "soon", f"UNEMBED_LEASE is 'soon'; expected {_DURATION}"),
        ("JOB_TTL", "1 year", f"UNEMBED_JOB_TTL is '1 year'; expected {_DURATION}"),
        ("PAYLOAD_TTL", "1", "UNEMBED_PAYLOAD_TTL is '1'; expected at least 60"),
        ("HEARTBEAT", "-1", "UNEMBED_HEARTBEAT is '-1'; expected more than 0"),
        ("MAX_BATCH_BYTES", "big", f"UNEMBED_MAX_BATCH_BYTES is 'big'; expected {_SIZE}"),
        ("MAX_CLIENT_BYTES", "3 parsec", f"UNEMBED_MAX_CLIENT_BYTES is '3 parsec'; expected {_SIZE}"),
        ("DEVICE", "gpu", "UNEMBED_DEVICE is 'gpu'; expected auto, cpu, cuda, cuda:0 or mps"),
        ("PORT", "http", "UNEMBED_PORT is 'http'; expected a whole number"),
        ("THREADS", "many", "UNEMBED_THREADS is 'many'; expected a whole number"),
        ("MAX_REDIS_USE", "70", "UNEMBED_MAX_REDIS_USE is '70'; expected at most 1"),
    ],
)
def test_an_error_names_the_variable_its_value_and_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"UNEMBED_{name}", value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert caught.value.message == said


@pytest.mark.parametrize("name", ["REDIS_URL", "PAYLOAD_URL"])
@pytest.mark.parametrize("url", ["http://:hunter2@h:26379/0", "hunter2", "amqp://:hunter2@h"])
def test_a_url_that_is_refused_does_not_show_its_password(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    monkeypatch.setenv(f"UNEMBED_{name}", url)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert caught.value.message.startswith(f"UNEMBED_{name} is set, but not usable: it ")
    assert caught.value.message.endswith("; expected redis://, rediss:// or unix://")
    assert "hunter2" not in caught.value.message


def test_no_error_and_no_repr_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given secrets in every place, and one setting that is wrong
    monkeypatch.setenv("UNEMBED_API_KEYS", "hunter2")
    monkeypatch.setenv("UNEMBED_DATABASE_URL", "postgresql://me:hunter2@h/d")
    monkeypatch.setenv("UNEMBED_REDIS_URL", "redis://:hunter2@h:6379/0")
    monkeypatch.setenv("UNEMBED_PAYLOAD_URL", "redis://:hunter2@h:6380/0")
    shown = repr(read_settings()) + str(read_settings())
    monkeypatch.setenv("UNEMBED_LEASE", "20")
    # When it is read, and when pydantic itself is asked
    with pytest.raises(SettingsError) as ours:
        read_settings()
    with pytest.raises(ValidationError) as pydantics:
        Settings()
    # Then neither error shows one, nor does the object
    assert "hunter2" not in shown + ours.value.message + str(pydantics.value)
    assert ours.value.__cause__ is None
    assert "postgresql://me:***@h/d" in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:a/b@c@h/d", "postgresql://me:***@h/d"),
        ("redis://:x@h:1/0", "redis://:***@h:1/0"),
        ("unix:///tmp/r.sock?password=x&db=1", "unix:///tmp/r.sock?password=***&db=1"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("sqlite:////home/me/unembed.db", "sqlite:////home/me/unembed.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_payloads_are_in_the_redis_of_the_queue_unless_told_otherwise() -> None:
    assert Settings(redis_url="redis://a").payload_redis_url == "redis://a"
    assert Settings(redis_url="redis://a", payload_url="redis://b").payload_redis_url == "redis://b"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1


def test_a_lease_shorter_than_two_heartbeats_is_refused_naming_both() -> None:
    assert read_settings(lease=30.0, heartbeat=15.0).lease == 30.0
    with pytest.raises(SettingsError, match="UNEMBED_LEASE is 20 s and UNEMBED_HEARTBEAT is 15 s; expected a lease of"):
        read_settings(lease=20.0, heartbeat=15.0)


def test_kubernetes_links_to_services_are_not_settings(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given what Kubernetes sets in a pod beside the services `unembed` and `unembed-redis`
    for name, value in {
        "UNEMBED_PORT": "tcp://10.96.12.7:8765",
        "UNEMBED_SERVICE_HOST": "10.96.12.7",
        "UNEMBED_SERVICE_PORT": "8765",
        "UNEMBED_SERVICE_PORT_HTTP": "8765",
        "UNEMBED_PORT_8765_TCP": "tcp://10.96.12.7:8765",
        "UNEMBED_PORT_8765_TCP_PROTO": "tcp",
        "UNEMBED_PORT_8765_TCP_PORT": "8765",
        "UNEMBED_PORT_8765_TCP_ADDR": "10.96.12.7",
        "UNEMBED_REDIS_PORT": "tcp://10.96.12.8:6379",
        "UNEMBED_REDIS_SERVICE_HOST": "10.96.12.8",
    }.items():
        monkeypatch.setenv(name, value)
    # When the settings are read, Then the port is the default, and one line says so
    with caplog.at_level(logging.WARNING):
        assert read_settings() == Settings.model_construct()
    (line,) = caplog.messages
    assert line.startswith("UNEMBED_PORT is 'tcp://10.96.12.7:8765', which is Kubernetes's link to a service")


def test_unknown_variables_are_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UNEMBED_LEESE", "hunter2")
    monkeypatch.setenv("UNEMBED_XYZZY", "hunter2")
    for known in ("UNEMBED_URL", "UNEMBED_API_KEY", "UNEMBED_HOME", "UNEMBED_DECODERS", "UNEMBED_DEBUG"):
        monkeypatch.setenv(known, "http://h")
    with caplog.at_level(logging.WARNING):
        read_settings()
        read_settings()
    assert caplog.messages == [
        "UNEMBED_LEESE is not a setting of unembed and is ignored. Did you mean UNEMBED_LEASE?",
        "UNEMBED_XYZZY is not a setting of unembed and is ignored.",
    ]


def test_the_table_of_settings_in_the_docs_is_made_from_the_code() -> None:
    pages = [Path("README.md"), Path("docs/operating.md")]
    texts = [page.read_text(encoding="utf-8") for page in pages if page.exists()]
    (text,) = [text for text in texts if "<!-- settings -->" in text]
    found = text.partition("<!-- settings -->\n\n")[2].partition("\n\n<!-- end of settings -->")[0]
    assert found == settings_table(), "run `python -m unembed.models.settings_table` and put what it prints there"


def test_roots_of_corpora_are_folders_and_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNEMBED_CORPUS_ROOTS", "/data/corpora/, s3://bucket/nightly")
    assert read_settings().corpus_roots == ("file:///data/corpora", "s3://bucket/nightly")
    monkeypatch.delenv("UNEMBED_CORPUS_ROOTS")
    assert read_settings().corpus_roots == ()


@pytest.mark.parametrize(
    ("root", "says"),
    [
        ("corpora", "is no absolute path and no URI; expected file:///"),
        ("/", "is the whole file system; expected a folder in it"),
        ("/data/../etc", "has '.', '..'"),
        ("ftp://host/a", "has the scheme 'ftp'"),
        ("https://user:hunter2@host", "has credentials"),
    ],
)
def test_a_root_that_is_none_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, root: str, says: str
) -> None:
    monkeypatch.setenv("UNEMBED_CORPUS_ROOTS", root)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert "UNEMBED_CORPUS_ROOTS" in refused.value.message
    assert says in refused.value.message
    assert "hunter2" not in refused.value.message


def in_file(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, content: bytes) -> Path:
    path = folder / name.lower()
    path.write_bytes(content)
    monkeypatch.setenv(f"UNEMBED_{name}_FILE", str(path))
    return path


def test_a_setting_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given two settings in files, with the line's end that editors leave
    in_file(monkeypatch, tmp_path, "API_KEYS", b"one\ntwo,three\n")
    in_file(monkeypatch, tmp_path, "LEASE", b"2m\n")
    # When they are read, Then they are as if they had been variables
    settings = read_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two", "three"]
    assert settings.lease == 120
    # And an argument counts before them
    assert read_settings(lease=60).lease == 60


def test_the_name_of_a_file_is_not_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_file(monkeypatch, tmp_path, "PORT", b"1234")
    assert read_settings().port == 1234
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b" \n", "which is empty; expected the value of UNEMBED_API_KEYS"),
        (b"\xff", "not UTF-8"),
        (b"k" * 70_000, "more"),
    ],
)
def test_a_file_without_a_value_is_refused_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, expected: str
) -> None:
    # Given a file that has no value, When settings are read, Then the variable and the file are named
    path = in_file(monkeypatch, tmp_path, "API_KEYS", content)
    with pytest.raises(SettingsError, match=expected) as refused:
        read_settings()
    assert f"UNEMBED_API_KEYS_FILE is {str(path)!r}" in refused.value.message
    # And one that is not there is, too
    path.unlink()
    with pytest.raises(SettingsError, match=f"{path}.*cannot be read: No such file"):
        read_settings()


def test_a_value_and_a_file_for_it_are_one_too_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_file(monkeypatch, tmp_path, "DATABASE_URL", b"sqlite:///a.db")
    monkeypatch.setenv("UNEMBED_DATABASE_URL", "sqlite:///b.db")
    with pytest.raises(SettingsError, match="UNEMBED_DATABASE_URL and UNEMBED_DATABASE_URL_FILE are both set"):
        read_settings()


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("postgresql://me@db:5432/d", "postgresql://me:p%2F%40%3A@db:5432/d"),
        ("postgresql://me@/d?host=/run/pg", "postgresql://me:p%2F%40%3A@/d?host=/run/pg"),
        ("postgresql://me:own@db/d", "postgresql://me:own@db/d"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
    ],
)
def test_a_databases_password_may_be_apart_from_its_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, whole: str
) -> None:
    # Given a password of characters that a URL would have to escape
    in_file(monkeypatch, tmp_path, "DATABASE_PASSWORD", b"p/@: \n")
    monkeypatch.setenv("UNEMBED_DATABASE_URL", url)
    # When settings are read, Then the URL has it, unless it has one, or needs none
    assert read_settings().database_url == whole
    # And it is not shown
    assert "p/@" not in repr(read_settings())


def test_each_redis_has_its_own_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNEMBED_REDIS_PASSWORD", "a b")
    monkeypatch.setenv("UNEMBED_PAYLOAD_PASSWORD", "c")
    monkeypatch.setenv("UNEMBED_PAYLOAD_URL", "rediss://me@two:1/0")
    settings = read_settings()
    assert settings.redis_url == "redis://:a%20b@127.0.0.1:6379/0"
    assert settings.payload_redis_url == "rediss://me:c@two:1/0"
    assert read_settings(redis_url="unix:///run/r.sock").redis_url == "unix://:a%20b@/run/r.sock"


def test_a_password_without_a_user_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNEMBED_DATABASE_URL", "postgresql://db/d")
    monkeypatch.setenv("UNEMBED_DATABASE_PASSWORD", "hush")
    with pytest.raises(
        SettingsError, match="UNEMBED_DATABASE_URL does not go with UNEMBED_DATABASE_PASSWORD"
    ) as refused:
        read_settings()
    assert "hush" not in refused.value.message
