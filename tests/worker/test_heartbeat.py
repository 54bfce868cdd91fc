from __future__ import annotations

import threading
import time

import pytest

from unembed.errors import StoreUnavailableError
from unembed.models.store import Beat
from unembed.worker import heartbeat
from unembed.worker.heartbeat import CancelledError, FencedError, HandBackError, Heart


class Beats:
    """Answers as it is told, and counts."""

    def __init__(self, answer: Beat | Exception = Beat.ALIVE) -> None:
        self.answer = answer
        self.count = 0
        self.rows = 0

    def __call__(self, rows: int) -> Beat:
        self.count += 1
        self.rows = rows
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while self.count < count:
            assert time.monotonic() < deadline, "the heart does not beat"
            time.sleep(0.005)


def test_the_heart_beats_while_a_micro_batch_takes_long() -> None:
    # Given a heart, and a decoder that is busy
    beats = Beats()
    with Heart(beats, 0.01, threading.Event()) as beating:
        # When time passes without a check / Then the lease was renewed all the same, and checks find nothing
        beats.wait(3)
        beating.check()


def test_the_heart_stops_with_its_block() -> None:
    beats = Beats()
    with Heart(beats, 0.01, threading.Event()):
        beats.wait(1)
    count = beats.count
    time.sleep(0.05)
    assert beats.count == count


@pytest.mark.parametrize(("answer", "raised"), [(Beat.CANCELLED, CancelledError), (Beat.FENCED, FencedError)])
def test_a_check_raises_what_the_heartbeat_learnt(answer: Beat, raised: type[Exception]) -> None:
    beats = Beats(answer)
    with Heart(beats, 0.01, threading.Event()) as beating:
        beats.wait(2)  # the second comes when the first has been taken in
        with pytest.raises(raised):
            beating.check()


def test_what_was_learnt_once_stays_so() -> None:
    # Given an attempt that was fenced
    beats = Beats(Beat.FENCED)
    with Heart(beats, 0.01, threading.Event()) as beating:
        beats.wait(2)
        # When the database says something else afterwards
        beats.answer = Beat.ALIVE
        beats.wait(beats.count + 2)
        # Then the attempt does not come back to life
        with pytest.raises(FencedError):
            beating.check()


def test_a_check_asks_the_database_itself_when_the_thread_would_be_late() -> None:
    # Given a heart that beats every hour, and a job that was cancelled meanwhile
    beats = Beats(Beat.CANCELLED)
    with Heart(beats, 3600, threading.Event()) as beating:
        beating._asked -= heartbeat.PROMPT
        # When a micro-batch ends / Then the cancel is seen
        with pytest.raises(CancelledError):
            beating.check()


def test_the_heart_tells_how_many_rows_are_decoded() -> None:
    # Given a heart, and two checks of which the later is told of fewer rows
    beats = Beats()
    with Heart(beats, 0.01, threading.Event()) as beating:
        beating.check(128)
        beating.check()
        # When it beats again / Then it tells the larger number
        beats.wait(beats.count + 2)
        assert beats.rows == 128


def test_a_shutdown_is_seen_at_the_next_check() -> None:
    stopping = threading.Event()
    with Heart(Beats(), 60, stopping) as beating:
        beating.check()
        stopping.set()
        with pytest.raises(HandBackError):
            beating.check()


def test_a_database_that_is_away_for_a_moment_does_not_end_the_attempt() -> None:
    beats = Beats(StoreUnavailableError())
    with Heart(beats, 0.01, threading.Event()) as beating:
        beats.wait(2)
        beating.check()
        beats.answer = Beat.ALIVE
        beats.wait(beats.count + 1)
        beating.check()


def test_a_decoder_that_hangs_loses_its_lease_and_its_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a decoder that does not come back
    monkeypatch.setattr(heartbeat, "STALL", 0.03)
    hung = threading.Event()
    with Heart(Beats(), 0.01, threading.Event(), hung=hung.set) as beating:
        # When it has hung for long / Then the heart has stopped by itself, and said so
        assert hung.wait(10)
        beating._thread.join(10)
        assert not beating._thread.is_alive()
