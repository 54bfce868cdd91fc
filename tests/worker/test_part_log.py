"""The logs of parts, as the supervisor keeps and reads them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.processes import await_
from unembed.worker.part_log import last_words
from unembed.worker.supervisor import Part, Supervisor

PROGRAM = """
import os
os.write(1, b'plain\\n\\xff\\n\\n{"level": "info", "message": "a record"}\\n')
os.write(2, b"half")
"""
SAYS = [sys.executable, "-S", "-c", PROGRAM]
CRITICAL = '{"level": "critical", "message": "device \'cuda:99\' is not available here"}'


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setenv("UNEMBED_LOG_FORMAT", "json")
    made = Supervisor(tmp_path, lambda _: None, lambda _: None)
    made.start()
    yield made
    made.kill()
    made.stop()


def test_where_logs_are_json_every_line_of_a_part_becomes_a_record(supervisor: Supervisor, tmp_path: Path) -> None:
    # Given a part that writes what is no JSON, what is no text, a record, and half a line before it ends
    supervisor.add(Part("worker-cpu0", SAYS, os.environ, stage=0))
    log = tmp_path / "logs" / "worker-cpu0.log"
    # When it has been started again, too
    await_(lambda: log.exists() and log.read_text().count('"half"') >= 2)
    # Then its log has a record for each line, those that were none marked as what it wrote, and none is empty
    first = [json.loads(line) for line in log.read_text().splitlines()][:4]
    assert [record["message"] for record in first] == ["plain", "\N{REPLACEMENT CHARACTER}", "a record", "half"]
    assert [record.get("part") for record in first] == ["worker", "worker", None, "worker"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["2026 CRITICAL MainProcess x: no device", "2026 INFO MainProcess x: bye"], "no device"),
        ([CRITICAL, '{"level": "info", "message": "bye"}'], "device 'cuda:99' is not available here"),
        (['{"level": "info", "message": "ValueError: bad"}', '{"level": "info", "message": "bye"}'], "ValueError: bad"),
        (['{"level": "info", "message": "bye"}'], "bye"),
        (['{"of": "somebody else"}', '{"half'], '{"half'),
        ([], ""),
    ],
)
def test_the_last_words_are_found_in_either_form(tmp_path: Path, lines: list[str], words: str) -> None:
    # Given a log that ends so / When it is asked why its part ended, Then that is the last error, or the last line
    (tmp_path / "log").write_text("".join(f"{line}\n" for line in lines))
    assert last_words(tmp_path / "log") == words
