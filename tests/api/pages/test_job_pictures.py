"""What is drawn of a job: who worked when, and how good its texts are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from unembed.api.pages.course import MOST_LANES, timeline
from unembed.api.pages.quality import quality_picture
from unembed.schemas import Batch, BatchState


def _batch(ordinal: int, worker: str, state: BatchState = BatchState.DONE, **fields: object) -> Batch:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=10 * ordinal)
    given = {
        "id": f"j-{ordinal}",
        "job_id": "j",
        "ordinal": ordinal,
        "first_index": ordinal,
        "rows": 1,
        "state": state,
        "attempt": 1,
        "max_attempts": 4,
        "sha256": "",
        "worker": worker,
        "queued_at": at,
        "claimed_at": at,
        "finished_at": at + timedelta(seconds=5),
    }
    return Batch.model_validate(given | fields)


def test_each_worker_has_a_lane_and_failures_are_marked() -> None:
    last = _batch(2, "b", BatchState.RUNNING, finished_at=None)
    queued = _batch(3, "b", BatchState.QUEUED, finished_at=None, error_code="decode_failed")
    assert last.claimed_at is not None
    drawn = timeline([_batch(0, "a"), _batch(1, "b", BatchState.DEAD), last, queued], last.claimed_at)
    assert drawn is not None
    assert [lane.worker for lane in drawn.lanes] == ["a", "b"]
    assert [[one.kind for one in lane.stretches] for lane in drawn.lanes] == [["done"], ["failed", "running", "failed"]]
    # And all of it is within the picture
    assert all(0 <= one.x <= 1000 for lane in drawn.lanes for one in lane.stretches)
    assert timeline([], last.claimed_at) is None


def test_of_many_workers_some_are_drawn_and_the_others_counted() -> None:
    many = [_batch(number, f"w{number:03}") for number in range(MOST_LANES + 6)]
    drawn = timeline(many, many[0].queued_at)
    assert drawn is not None
    assert (len(drawn.lanes), drawn.more_lanes) == (MOST_LANES, 6)


def test_the_picture_of_quality_says_what_the_decoder_was_checked_on() -> None:
    picture = quality_picture([0] * 25 + [10] + [0] * 24, "ret-v21-minilm")
    assert picture is not None
    assert (picture.scored, round(picture.faithful, 1)) == (10, 5.1)
    assert picture.judgement is not None
    assert picture.judgement.checked is not None
    assert picture.judgement.checked.rows == 4451
    # And of a decoder that is not here, nothing is claimed
    unknown = quality_picture([1] * 50, "gone")
    assert unknown is not None
    assert unknown.judgement is None
    assert quality_picture([0] * 50, "gone") is None
