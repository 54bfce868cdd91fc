"""What a library refuses is told in one line: the name, the value, what was expected."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from typing import Annotated, Literal

import httpx2
import pytest
import redis
import sqlalchemy
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from unembed.boundary import as_unembed_error, describe, end_with, unknown_name
from unembed.errors import (
    AuthError,
    BusyError,
    InputError,
    NotFoundError,
    QueueUnavailableError,
    SettingsError,
    StoreUnavailableError,
    UnavailableError,
    UnembedError,
)


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: Annotated[int, Field(ge=1, lt=10)] = 1
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    rank_by: Literal["encoder", "decoder"] = "encoder"
    name: Annotated[str, Field(max_length=4)] = ""
    exact: bool = False
    place: str = "here"

    @field_validator("place")
    @classmethod
    def _is_here(cls, place: str) -> str:
        if place != "here":
            raise ValueError("only here will do")
        return place


def refused(values: dict[str, object]) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Order.model_validate(values)
    return caught.value


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rows": 0}, "rows is 0; expected at least 1"),
        ({"rows": 10}, "rows is 10; expected less than 10"),
        ({"rows": "many"}, "rows is 'many'; expected a whole number"),
        ({"rows": 1.5}, "rows is 1.5; expected a whole number"),
        ({"share": 0}, "share is 0; expected more than 0"),
        ({"share": "half"}, "share is 'half'; expected a number"),
        ({"rank_by": "luck"}, "rank_by is 'luck'; expected 'encoder' or 'decoder'"),
        ({"name": "Penelope"}, "name is 'Penelope'; expected at most 4 characters"),
        ({"name": 7}, "name is 7; expected a string"),
        ({"exact": "maybe"}, "exact is 'maybe'; expected true or false"),
        ({"place": "there"}, "place is 'there': only here will do"),
        ({"row": 3}, "unknown field 'row'"),
        ({"rows": 0, "share": 2}, "rows is 0; expected at least 1. share is 2; expected at most 1"),
    ],
)
def test_a_line_names_the_field_the_value_and_what_was_expected(values: dict[str, object], said: str) -> None:
    assert describe(refused(values)) == said


def test_a_missing_field_is_called_missing() -> None:
    class Needs(BaseModel):
        rows: int

    with pytest.raises(ValidationError) as caught:
        Needs.model_validate({})
    assert describe(caught.value) == "rows is missing"


def test_the_reader_is_told_the_name_that_they_gave() -> None:
    said = describe(refused({"rank_by": "luck"}), name=lambda field: "--" + field.replace("_", "-"))
    assert said == "--rank-by is 'luck'; expected 'encoder' or 'decoder'"


def test_a_secret_is_not_shown() -> None:
    said = describe(refused({"name": "Penelope"}), secret={"name"})
    assert said == "name is set, but not usable; expected at most 4 characters"


def test_a_long_value_is_cut() -> None:
    assert len(describe(refused({"name": "x" * 10_000}))) < 200


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    known = Order.model_fields
    said = describe(refused({"row": 3}), known=known)
    assert said == "unknown field 'row'; there are: exact, name, place, rank_by, rows, share. Did you mean 'rows'?"
    assert unknown_name("setting", "zzz", ["rows"]) == "unknown setting 'zzz'; there are: rows"


def test_what_is_not_json_is_told_with_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        Order.model_validate_json("{")
    assert describe(caught.value).startswith("this is not JSON: EOF while parsing")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (NotFoundError("no job"), NotFoundError, "no job"),
        (refused({"rows": 0}), InputError, "rows is 0; expected at least 1"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/root/o.csv"),
            UnembedError,
            "cannot use '/root/o.csv': Permission denied (EACCES)",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            UnembedError,
            "the system refused: No space left on device (ENOSPC)",
        ),
        (OSError("AF_UNIX path too long"), UnembedError, "the system refused: AF_UNIX path too long"),
        (
            sqlite3.DatabaseError("file is not a database"),
            StoreUnavailableError,
            "the database cannot be used: file is not a database",
        ),
        (sqlalchemy.exc.InvalidRequestError("odd"), StoreUnavailableError, "the database cannot be used: odd"),
        (redis.exceptions.RedisError("odd"), QueueUnavailableError, "Redis cannot be used: odd"),
        (httpx2.ConnectError("odd"), UnavailableError, "the server cannot be reached: odd"),
        (
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
            InputError,
            "a text cannot be read or written: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
        (
            KeyError("x"),
            UnembedError,
            "this is a fault in unembed: KeyError: 'x'; run again with UNEMBED_DEBUG=1 for the details",
        ),
        (
            ValueError("one\n  two"),
            UnembedError,
            "this is a fault in unembed: ValueError: one two; run again with UNEMBED_DEBUG=1 for the details",
        ),
    ],
)
def test_each_kind_of_error_becomes_one_line_of_ours(error: Exception, kind: type[UnembedError], said: str) -> None:
    found = as_unembed_error(error)
    assert (type(found), found.message) == (kind, said)


@pytest.mark.parametrize(("debug", "traceback"), [("", False), ("0", False), ("1", True)])
def test_the_traceback_of_a_fault_is_shown_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], debug: str, traceback: bool
) -> None:
    # Given a fault, When it ends a program
    monkeypatch.setenv("UNEMBED_DEBUG", debug)
    with pytest.raises(SystemExit) as caught:
        end_with(KeyError("x"))
    # Then its line is there, and its traceback if somebody wants it
    err = capsys.readouterr().err
    assert caught.value.code == 1
    assert "error: this is a fault in unembed: KeyError: 'x'" in err
    assert err.startswith("KeyError: 'x'\n") is traceback


def test_the_error_of_a_program_has_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    for error, code in (
        (SettingsError("s"), 2),
        (AuthError("a"), 4),
        (StoreUnavailableError("d"), 5),
        (BusyError("b"), 5),
        (NotFoundError("n"), 1),
    ):
        with pytest.raises(SystemExit) as caught:
            end_with(error)
        assert caught.value.code == code
    assert capsys.readouterr().err.splitlines() == ["error: s", "error: a", "error: d", "error: b", "error: n"]


@pytest.mark.parametrize("module", ["unembed.worker", "unembed.worker.liveness", "unembed.api"])
def test_a_program_with_a_bad_setting_says_so_in_one_line_without_a_secret(module: str) -> None:
    # Given secrets in the environment, and a lease that is too short
    environment = os.environ | {"UNEMBED_API_KEYS": "topsecret", "UNEMBED_LEASE": "20"}
    environment["UNEMBED_DATABASE_URL"] = "postgresql://u:topsecret@127.0.0.1:1/d"
    # When one of the programs is started, Then it ends with one line, and a code that says that its input is wrong
    ended = subprocess.run(
        [sys.executable, "-m", module], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == (1 if module.endswith("liveness") else 2)
    assert len(ended.stderr.splitlines()) == 1
    assert "UNEMBED_LEASE is 20 s and UNEMBED_HEARTBEAT is 15 s; expected a lease of" in ended.stderr
    assert "topsecret" not in ended.stderr + ended.stdout
