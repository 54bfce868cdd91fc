from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from unembed.cli import progress
from unembed.cli.progress import Lines
from unembed.cli.tables import RowTally, job_details, outcome, row_table, summary
from unembed.generations import error_rows, from_columns, from_rows, in_order, rows_of
from unembed.progress import Pace
from unembed.schemas import (
    BatchCounts,
    DecodeOptions,
    Generation,
    Job,
    JobState,
    RowCounts,
    RowStatus,
    Timings,
    Waiting,
)
from unembed.words import duration, printable, why_it_waits


def job(state: JobState = JobState.RUNNING, done: int = 250, total: int = 1000) -> Job:
    now = datetime.now(UTC)
    return Job(
        id="j",
        state=state,
        decoder="d",
        embedding_dim=4,
        seed=0,
        options=DecodeOptions(),
        rows=RowCounts(total=total, ok=done),
        batches=BatchCounts(running=1, queued=2),
        timings=Timings(),
        created_at=now - timedelta(seconds=20),
        started_at=now - timedelta(seconds=10),
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.25, "250 ms"),
        (0.9996, "1.0 s"),
        (9.94, "9.9 s"),
        (59, "59 s"),
        (125, "2 min 05 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    # Given seconds, When they are shown, Then in the unit that fits
    assert duration(seconds) == text


def test_without_a_terminal_progress_is_a_line_every_five_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a clock that is ours
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    lines = Lines()
    # When a job is seen every second for eleven seconds
    for second in range(12):
        clock[0] = 100.0 + second
        lines.show_job(job(done=second * 50))
    # Then there are two lines, with the rows, the pace and what is left
    assert capsys.readouterr().err.splitlines() == [
        "5.0 s: decoded 250 of 1,000 rows, 50 rows/s, 15 s left",
        "10 s: decoded 500 of 1,000 rows, 50 rows/s, 10 s left",
    ]


@pytest.mark.parametrize(
    ("waiting", "says"),
    [
        ({"jobs_ahead": 2, "seconds": 40.0}, "2 jobs ahead, about 40 s"),
        ({"jobs_ahead": 1}, "1 job ahead"),
        ({}, "waiting for a worker, batches queued: 2"),
        ({"workers": 0}, "no worker has started yet"),
        (
            {"workers": 0, "last_worker": "gpu0@here ended with: no GPU\x1b"},
            "no worker runs: gpu0@here ended with: no GPU�",
        ),
        ({"failed": {"next_in": 10.0}}, "attempt 2 of 4 failed on gpu0@here: no room; next in 10 s"),
        ({"failed": {"next_in": 0.0}}, "attempt 2 of 4 failed on gpu0@here: no room; the next one is due"),
    ],
)
def test_the_wait_explains_itself(waiting: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a job of which nothing runs, When it is shown, Then why, in a few words
    if "failed" in waiting:
        of = {"batch": "j-0", "attempt": 2, "max_attempts": 4, "worker": "gpu0@here", "error_code": "out_of_memory"}
        waiting = waiting | {"failed": of | {"error": "no room"} | waiting["failed"]}
    values = {"jobs_ahead": 0, "rows_ahead": 0, "workers": 1} | waiting
    waits = job(JobState.QUEUED, done=0).model_copy(update={"waiting": Waiting.model_validate(values)})
    Console(width=200).print(job_details(waits))
    assert says in capsys.readouterr().out
    assert why_it_waits(waits) == says


def test_the_pace_counts_from_the_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a job that had 900 rows when it was first seen
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    pace = Pace()
    assert pace.note(900, 1000) == ""
    # When 50 more are done in 10 seconds, Then that is the pace
    clock[0] = 10.0
    assert pace.note(950, 1000) == "5 rows/s, 10 s left"
    assert pace.note(1000, 1000) == "10 rows/s"


def test_rows_that_were_never_decoded_are_counted_too() -> None:
    # Given rows of a dead batch, When the outcome is told, Then they are not left out
    assert outcome(RowCounts(total=10, ok=5, fallback=1, error=1)) == "5 ok, 1 fallback, 1 error, 3 not decoded"


def test_a_decoded_text_cannot_steer_the_terminal() -> None:
    # Given a text with an escape sequence, When it is shown, Then the sequence is harmless and the letters stay
    assert printable("\x1b[2Ja\u202e\ncafé 猫") == "\ufffd[2Ja\ufffd\ufffdcafé 猫"


def test_a_name_is_text_and_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    # Given a job whose name looks like markup, When its details are shown, Then the name is as it was given
    from unembed.cli.console import out

    out.print(job_details(job().model_copy(update={"name": "[bold]a[/]"})))
    assert "[bold]a[/]" in capsys.readouterr().out


def test_rows_off_the_manifold_are_marked_and_counted() -> None:
    # Given rows of which two have a vector that is of no text
    rows = [
        Generation(index=index, text="a text", status=RowStatus.OK, off_manifold=off)
        for index, off in enumerate((True, False, None, True))
    ]
    # When they are shown, Then each of the two is marked
    shown = shown_wide(row_table(rows))
    assert [("off manifold" in line) for line in shown.splitlines()[1:]] == [True, False, False, True]
    # And the summary of their job says how many they are, and nothing where there are none
    for some, line in ((rows, "off manifold +2 +vectors that do not look like embeddings of texts"), (rows[1:3], None)):
        tally = RowTally()
        assert [row for batch in tally.of([from_rows(some)]) for row in rows_of(batch)] == some
        told = shown_wide(summary(job(), [], tally, 1.0))
        assert re.search(line, told) if line else "off manifold" not in told
    # And where they are more than half, that the vectors are probably another embedder's
    tally = RowTally()
    assert len([*tally.of([from_rows(rows)])]) == 1
    told = shown_wide(summary(job(done=3), [], tally, 1.0))
    assert "more than half: probably vectors of another embedder than d reads" in told


def test_a_summary_says_that_scores_were_not_asked_for() -> None:
    # Given a job without scores and one with them, both of rows that have none
    unscored = job().model_copy(update={"options": DecodeOptions(scores="none")})
    # When they are summed up, Then the first says that it was not scored, and the second says nothing
    assert re.search("quality +- +not scored: --scores none", shown_wide(summary(unscored, [], RowTally(), 1.0)))
    assert "quality" not in shown_wide(summary(job(), [], RowTally(), 1.0))


def test_rows_are_counted_as_they_pass() -> None:
    # Given rows of every status in two batches
    first = from_columns([0, 1], status="ok", text="a", overall_quality=[0.25, None], round_trip=0.5, off_manifold=True)
    second = in_order([error_rows([2, 3], ["not_finite", "zero_vector"], "why"), from_columns([4], status="fallback")])
    # When they pass
    tally = RowTally()
    assert list(tally.of([first, second, error_rows([5], "not_finite", "why")])) != []
    # Then each is counted, and a mean is of the rows that have a value
    assert tally == RowTally(
        errors=Counter(not_finite=2, zero_vector=1),
        texts=3,
        quality=0.25,
        scored=1,
        round_trip=1.0,
        embedded=2,
        off_manifold=2,
    )


def shown_wide(rendered: object) -> str:
    console = Console(width=160, highlight=False, force_terminal=False)
    with console.capture() as capture:
        console.print(rendered)
    return capture.get()
