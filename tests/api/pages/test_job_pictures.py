"""What is drawn of a job: who worked when, and how good its texts are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from unembed.api.pages.course import MOST_LANES, timeline
from unembed.api.pages.curves import Curve
from unembed.api.pages.quality import quality_picture
from unembed.models.decoder.card import Judged, JudgedTenth, evaluation_of
from unembed.models.decoder.catalog import find
from unembed.models.decoder.ways import nearest_way
from unembed.schemas import DEFAULT_DECODER, GREEDY, Batch, BatchState, DecodeOptions


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
    picture = quality_picture([0] * 25 + [10] + [0] * 24, "ret-v21-minilm", DecodeOptions())
    assert picture is not None
    assert (picture.scored, round(picture.faithful, 1)) == (10, 5.1)
    assert picture.judgement is not None
    assert picture.judgement.checked is not None
    assert picture.judgement.checked.rows == 4451
    assert picture.judgement.way == "by default"
    # And of a decoder that is not here, nothing is claimed
    unknown = quality_picture([1] * 50, "gone", DecodeOptions())
    assert unknown is not None
    assert unknown.judgement is None
    assert quality_picture([0] * 50, "gone", DecodeOptions()) is None


def test_the_curve_is_that_of_texts_decoded_as_the_jobs_are() -> None:
    # Given what the decoder that ships was checked on, in seven ways
    checked = evaluation_of(find(DEFAULT_DECODER).path).judged
    for options, way in (
        (DecodeOptions(), "by default"),
        (DecodeOptions(candidates=16), "by default"),
        (GREEDY, "greedily (`--fast`)"),
        (DecodeOptions(edits=1), "by default"),
        (DecodeOptions(embed=4), "`--embed 8`"),
        (DecodeOptions(edits=3, embed=4), "`--edits 2 --embed 8`"),
        (DecodeOptions(round_trip=True), "by default (`--round-trip`)"),
        (DecodeOptions(candidates=1, round_trip=True), "greedily (`--fast --round-trip`)"),
    ):
        # When a job has these options, Then it is compared with texts that were decoded nearly so
        assert nearest_way(options, checked) == way
    # And where that way was not checked, with the one that comes nearest
    assert nearest_way(DecodeOptions(edits=2, embed=8), {"by default": 1, "`--edits 2`": 1}) == "`--edits 2`"
    assert nearest_way(DecodeOptions(), {}) is None


def test_a_curve_has_a_dot_for_each_tenth_and_says_it_in_words() -> None:
    tenths = (
        JudgedTenth(tenth=0, rows=200, predicted=0.04, faithful=0.05),
        JudgedTenth(tenth=9, rows=1, predicted=1, faithful=1),
    )
    judged = Judged(rows=201, base_rate=0.05, curve=tenths)
    drawn = Curve.of("`--edits 2`", judged)
    assert drawn is not None
    assert drawn.way == "with --edits 2"
    assert drawn.says == ("4 % expected, 5 % of 200 texts faithful; 100 % expected, 100 % of 1 text faithful")
    # The picture is ten units wide and a hundred high, and its y points down
    assert [(dot.x, dot.y) for dot in drawn.dots] == [(0.4, 95), (10, 0)]
    # And one text alone says little
    assert drawn.dots[0].low - drawn.dots[0].high < 10 < 70 < drawn.dots[1].low
    # And where no curve was kept, none is drawn
    assert Curve.of("by default", Judged(rows=1, base_rate=0)) is None
