"""What a line of a log may hold, and what it never does. Whole runs: tests/flow/test_logs_and_traces.py."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from unembed.models import logs
from unembed.models.database import transaction
from unembed.models.store import Store
from unembed.models.store.sql import GENERATIONS

FORGED = (
    'a name\n{"level": "critical", "message": "all is lost"}\r\n2026-01-01T00:00:00.000Z CRITICAL gone\u2028more\x1b[2J'
)


class Kept(logging.Handler):
    """Formats each record in both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.json: list[str] = []
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.json.append(logs.JsonLines().format(record))
        self.text.append(logs.TextLines().format(record))


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, log = Kept(), logging.getLogger("unembed.of_a_test")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)
    logs.begin()


log = logging.getLogger("unembed.of_a_test")


def last(kept: Kept) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kept.json[-1])
    return found


def test_a_newline_in_a_name_forges_no_line(kept: Kept) -> None:
    # Given a name that would be two records more
    log.warning("the job %s is late", FORGED)
    # When it is logged, Then as JSON it is one line, with the name as it is
    assert len(kept.json[0].splitlines()) == 1
    assert last(kept)["message"] == f"the job {FORGED} is late"
    # And as text whatever follows of it is indented, and nothing moves a terminal's cursor
    first, *others = kept.text[0].split("\n")
    assert "WARNING" in first
    assert others
    assert all(line.startswith("    ") for line in others)
    assert not {"\r", "\x1b", "\u2028"} & set(kept.text[0])


def test_what_is_said_where_an_attempt_begins_is_in_every_line_of_it_and_in_none_after(kept: Kept) -> None:
    # Given an attempt, within which somebody logs who knows nothing of it
    with logs.about(job="j", batch="j-0", attempt=2):
        log.info("decoding")
        inside = last(kept)
        # And whose thread does, in this context
        from contextvars import copy_context

        thread = threading.Thread(target=copy_context().run, args=(log.info, "beating"))
        thread.start()
        thread.join()
    log.info("idle")
    # Then the first two name it, and the last does not
    assert (inside["job"], inside["batch"], inside["attempt"]) == ("j", "j-0", 2)
    assert json.loads(kept.json[1])["batch"] == "j-0"
    assert "[batch=j-0 attempt=2]" in kept.text[0]
    assert "batch" not in last(kept)


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ("the database postgresql://me:hunter2@db:5432/x is away", "hunter2"),
        ("the database postgresql://me:hun@ter2@db/x is away", "ter2"),
        ("sent with Authorization: Bearer sk-hunter2", "hunter2"),
        ("sent with 'Authorization': 'Basic aHVudGVyMg=='", "aHVudGVyMg"),
        ("redis://h:6379/0?password=hunter2&db=1", "hunter2"),
    ],
)
def test_a_secret_is_taken_out_whoever_logs_it(kept: Kept, said: str, secret: str) -> None:
    # Given a message with a secret, and an error of a library that has it too
    try:
        raise OSError(said)
    except OSError:
        log.exception("failed: %s", said)
    # When they are logged, Then it is in neither form, and the rest is
    assert "OSError" in last(kept)["exception"]
    assert "***" in last(kept)["message"]
    assert secret not in kept.json[0] + kept.text[0]


def test_a_row_that_the_database_refuses_is_not_logged_with_its_text(kept: Kept, store: Store) -> None:
    # Given rows with a text that break a constraint of the table
    row = {"job_id": "no such job", "index": 0, "batch_id": "none", "text": "my secret diary", "status": "error"}
    try:
        with transaction(store.engine) as connection:
            connection.execute(GENERATIONS.insert(), [row])
    except IntegrityError:
        log.exception("the attempt failed")
    # When the error is logged, with its traceback, Then the text is nowhere in it
    assert "IntegrityError" in last(kept)["exception"]
    assert "diary" not in kept.json[0] + kept.text[0]


def test_a_request_is_logged_without_the_values_of_its_query(kept: Kept) -> None:
    # Given uvicorn's record of a request that searches for a text
    access = logging.getLogger("uvicorn.access")
    path = "/v1/jobs/j/rows?search=my%20secret%20diary&limit=5"
    record = access.makeRecord(
        access.name, logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', ("127.0.0.1:9", "GET", path, "1.1", 200), None
    )
    # When it is logged, Then its fields are there, the query's names too, and no value
    found = json.loads(logs.JsonLines().format(record))
    assert (found["method"], found["status"], found["client"]) == ("GET", 200, "127.0.0.1:9")
    assert found["path"] == "/v1/jobs/j/rows?search=***&limit=***"
    assert "diary" not in json.dumps(found) + logs.TextLines().format(record)


def test_what_redis_and_others_write_becomes_records() -> None:
    # Given a line of Redis, one of a library, and one that is a record
    redis = "26208:M 29 Nov 2026 06:43:03.650 # Server started"
    ours = '{"time": "2026-11-29T06:43:03.650Z", "level": "info", "message": "ready"}'
    # When they are taken as lines of parts / Then the level of Redis is kept, and the record is left as it is
    assert (
        json.loads(logs.as_record(redis, "redis")).items() >= {"level": "warning", "message": "Server started"}.items()
    )
    other = json.loads(logs.as_record('{"a": 1', "worker-cpu0"))
    assert (other["message"], other["part"], other["level"]) == ('{"a": 1', "worker", "info")
    assert logs.as_record(ours, "api") == ours


PROGRAM = """
import sys, threading, warnings
from unembed.models import logs
logs.set_up("api")
logs.set_up("api", worker="w")  # once more does no harm
print("printed, not logged")
sys.stderr.write("in two "); sys.stderr.write("halves\\n")
warnings.warn("careful")
thread = threading.Thread(target=lambda: 1 / 0, name="divides"); thread.start(); thread.join()
raise ValueError("nobody foresaw this")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_all_that_a_process_writes_has_the_form_to_its_last_line(form: str) -> None:
    # Given a process that logs, prints, warns, loses a thread and dies of an error
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={"UNEMBED_LOG_FORMAT": form}, capture_output=True, text=True, check=False
    )
    # When it has ended
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line]
    # Then all of it is there
    for said in ("printed, not logged", "in two halves", "careful", "the thread divides ends", "nobody foresaw this"):
        assert any(said in line for line in lines), (said, lines)
    assert done.returncode == 1
    if form == "json":
        # And each line is a record
        records = [json.loads(line) for line in lines]
        assert {record["part"] for record in records} == {"api"}
        assert records[-1]["level"] == "critical"
        assert "ValueError" in records[-1]["exception"]


def test_an_error_that_ends_a_program_is_a_record_too() -> None:
    # Given a part that cannot start, where logs are JSON
    done = subprocess.run(
        [sys.executable, "-m", "unembed.api"],
        env={"UNEMBED_LOG_FORMAT": "json", "UNEMBED_PORT": "much"},
        capture_output=True,
        text=True,
        check=False,
    )
    # When it ends / Then the reason is a record, with the error's code
    (record,) = map(json.loads, done.stderr.splitlines())
    assert "UNEMBED_PORT is 'much'" in record["message"]
    assert (record["level"], record["part"], record["error_code"]) == ("critical", "api", "settings")
    assert done.returncode == 2


def test_an_unknown_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from unembed.errors import SettingsError
    from unembed.models.settings import read_settings

    # Given a form that there is not
    monkeypatch.setenv("UNEMBED_LOG_FORMAT", "xml")
    # When the settings are read, Then the line names the variable, the value and what was expected
    with pytest.raises(SettingsError, match=r"UNEMBED_LOG_FORMAT is 'xml'; expected 'text' or 'json'"):
        read_settings()
    with warnings.catch_warnings():
        assert logs.chosen() == "text"
