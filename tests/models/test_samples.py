"""A look at a job's rows: the best and the worst, some at random, those with a word; and what a job's page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, update

from tests.builders import add_batches, generations, make_job
from tests.models.test_plans import growing, recording
from unembed.errors import InputError, NotFoundError
from unembed.generations import from_columns
from unembed.models.store import FoundPage, ResultsPage, Store
from unembed.models.store.samples import DEEPEST
from unembed.models.store.spread import STEPS, bound, spread_of
from unembed.models.store.sql import BATCHES
from unembed.schemas import Batch, Job, Timings


def finish(store: Store, batch: Batch, **columns: Any) -> None:
    """The batch is done, with these columns of its rows."""
    claim = store.attempts.claim(batch.id, "worker", 5.0)
    assert claim is not None
    rows = from_columns(range(batch.first_index, batch.first_index + batch.rows), **columns)
    assert store.attempts.finish(batch.id, claim.attempt, rows, Timings())


def job_of(store: Store, qualities: Sequence[Sequence[float | None]]) -> Job:
    """A job with a batch for each list, whose rows have these qualities."""
    job = make_job(store)
    for batch, some in zip(add_batches(store, job, [len(each) for each in qualities]), qualities, strict=True):
        finish(store, batch, text="a text", status="ok", overall_quality=some)
    return job


def indices(page: ResultsPage | FoundPage) -> list[int]:
    return page.rows.column("index").to_pylist()


def leafed(read: Any, limit: int) -> list[int]:
    """The indices of all pages, one after the other."""
    found, cursor = [], None
    while True:
        page = read(cursor=cursor, limit=limit)
        found += indices(page)
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_the_best_and_the_worst_come_first_from_whatever_batch(store: Store) -> None:
    # Given rows of three batches, one of them not scored
    job = job_of(store, [[0.2, 0.9, None], [0.95, 0.1, 0.5], [0.5, 0.0, 1.0]])
    # When they are leafed through from either side, Then they come by their quality, and of equals the first first
    assert leafed(lambda **page: store.samples.by_quality(job.id, "best", **page), 3) == [8, 3, 1, 5, 6, 0, 4, 7]
    assert leafed(lambda **page: store.samples.by_quality(job.id, "worst", **page), 2) == [7, 4, 0, 5, 6, 1, 3, 8]


def test_what_an_earlier_version_has_not_counted_is_found_all_the_same(store: Store, engine: Engine) -> None:
    job = job_of(store, [[0.2, 0.9], [0.5, 0.7]])
    with engine.begin() as connection:
        connection.execute(update(BATCHES).where(BATCHES.c.ordinal == 1).values(quality=None))
    assert indices(store.samples.by_quality(job.id, "best", limit=3)) == [1, 3, 2]


def test_rows_of_another_job_are_not_among_the_best(store: Store) -> None:
    job = job_of(store, [[0.2]])
    job_of(store, [[0.9]])
    assert indices(store.samples.by_quality(job.id, "best")) == [0]


def test_leafing_ends_where_it_would_become_slow(store: Store) -> None:
    job = job_of(store, [np.linspace(0, 1, DEEPEST + 5).tolist()])
    assert len(leafed(lambda **page: store.samples.by_quality(job.id, "best", **page), 300)) == DEEPEST
    with pytest.raises(InputError, match="1000 best rows"):
        store.samples.by_quality(job.id, "best", cursor=f"i{DEEPEST - 1}")


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("side", ["best", "worst"])
def test_a_bound_leaves_no_row_out(rows: int, side: Any) -> None:
    # Given rows whose quality lies on the edges of buckets, and elsewhere
    drawn = np.random.default_rng(rows).integers(0, 101, 60) / 100
    spread = spread_of(from_columns(range(60), status="ok", text="x", overall_quality=drawn))
    assert (len(spread), sum(spread)) == (STEPS, 60)
    # When a bound for the first of them is looked for, Then so many reach it
    at = bound(spread, side, rows)
    reached = drawn >= at if side == "best" else drawn <= at
    assert reached.sum() >= rows
    assert bound(spread, side, 61) in (pytest.approx(0.0, abs=1e-6), pytest.approx(1.0, abs=1e-6))


def test_the_same_seed_draws_the_same_rows_and_another_one_others(store: Store) -> None:
    job = job_of(store, [[0.5] * 30, [0.5] * 30])
    drawn = leafed(lambda **page: store.samples.drawn(job.id, 7, **page), 25)
    # Then all are there once, in an order of their own
    assert sorted(drawn) == list(range(60))
    assert drawn != sorted(drawn)
    assert leafed(lambda **page: store.samples.drawn(job.id, 7, **page), 60) == drawn
    assert leafed(lambda **page: store.samples.drawn(job.id, 8, **page), 60) != drawn


def test_rows_that_are_not_written_yet_are_left_out(store: Store) -> None:
    job = make_job(store)
    first, _ = add_batches(store, job, (4, 4))
    finish(store, first, text="a text", status="ok")
    assert sorted(leafed(lambda **page: store.samples.drawn(job.id, 1, **page), 3)) == [0, 1, 2, 3]


def test_a_search_finds_words_in_upper_and_lower_case_and_takes_signs_as_they_are(store: Store) -> None:
    job = make_job(store)
    (batch,) = add_batches(store, job, (5,))
    finish(store, batch, text=["The SEA is wide", "100% sure", "no", "a_sea", "1000 sure"], status="ok")
    assert indices(store.samples.with_text(job.id, "sea")) == [0, 3]
    assert indices(store.samples.with_text(job.id, "0% s")) == [1]
    assert indices(store.samples.with_text(job.id, "A_s")) == [3]
    assert leafed(lambda **page: store.samples.with_text(job.id, "s", **page), 1) == [0, 1, 3, 4]
    with pytest.raises(InputError, match="nothing to search for"):
        store.samples.with_text(job.id, "")


def test_a_search_stops_after_so_many_rows_and_goes_on_from_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a search that reads three rows at a time
    monkeypatch.setattr("unembed.models.store.samples.SEARCHED", 3)
    job = make_job(store)
    (batch,) = add_batches(store, job, (7,))
    finish(store, batch, text=["x"] * 5 + ["rare"] + ["x"], status="ok")
    # When nothing is found in them, Then the page says how far it has come
    page = store.samples.with_text(job.id, "rare")
    assert (indices(page), page.searched_to) == ([], 2)
    page = store.samples.with_text(job.id, "rare", cursor=page.next_cursor)
    assert (indices(page), page.searched_to) == ([5], 5)
    page = store.samples.with_text(job.id, "rare", cursor=page.next_cursor)
    assert (indices(page), page.next_cursor, page.searched_to) == ([], None, None)


def test_looks_at_a_job_that_is_not_there_say_so(store: Store) -> None:
    for look in (
        lambda: store.samples.by_quality("none", "best"),
        lambda: store.samples.drawn("none", 0),
        lambda: store.samples.with_text("none", "x"),
    ):
        with pytest.raises(NotFoundError):
            look()


def test_looks_are_made_by_indexes(store: Store, engine: Engine) -> None:
    job = job_of(store, [[0.2, 0.9], [0.5, 0.7]])
    with recording(engine) as asked:
        for side in ("best", "worst"):
            store.samples.by_quality(job.id, side, limit=1)  # type: ignore[arg-type]
        store.samples.drawn(job.id, 0, limit=2)
        store.samples.with_text(job.id, "text", limit=1)
        store.figures.quality(job.id)
        store.figures.errors(job.id)
    # The best few of the rows that reach a bound are sorted: those few.
    unsorted = [each for each in asked if "overall_quality IS NOT NULL" not in each.statement]
    assert growing(engine, [each for each in unsorted if "GROUP BY" not in each.statement]) == []


def test_the_spread_of_a_jobs_quality_is_the_sum_of_its_batches(store: Store) -> None:
    job = job_of(store, [[0.0, 0.01, None], [1.0, 0.5, 0.5]])
    spread = store.figures.quality(job.id)
    assert {place: count for place, count in enumerate(spread) if count} == {0: 2, 25: 2, 49: 1}
    assert sum(store.figures.quality("none")) == 0


def test_errors_are_counted_by_code_with_an_example(store: Store) -> None:
    # Given a job with rows that could not be read, and a batch that is dead
    job = make_job(store)
    first, second = add_batches(store, job, (4, 3))
    claim = store.attempts.claim(first.id, "worker", 5.0)
    assert claim is not None
    assert store.attempts.finish(first.id, claim.attempt, generations(first, errors=(1, 2)), Timings())
    claim = store.attempts.claim(second.id, "worker", 5.0)
    assert claim is not None
    store.attempts.fail(second.id, claim.attempt, "decode_failed", "the device is gone", final=True)
    # Then each code has its rows, the most first
    found = [(each.code, each.rows, each.example) for each in store.figures.errors(job.id)]
    assert found == [("decode_failed", 3, "the device is gone"), ("not_finite", 2, "row has NaN")]
    # And the batch that has failed is named
    assert [batch.ordinal for batch in store.figures.troubled(job.id, 5)] == [1]
    assert [batch.ordinal for batch in store.figures.claimed(job.id, 5)] == [1, 0]
    assert len(store.figures.claimed(job.id, 1)) == 1
