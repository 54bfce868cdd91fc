"""Rows: kept as they were given, and read in pages that miss nothing while batches finish out of order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import Engine, event

from tests.builders import add_batches, generations, make_job, read
from unembed.errors import InputError
from unembed.generations import floats, from_columns, from_rows, rows_of
from unembed.models.store import ResultsPage, Store, results
from unembed.schemas import Batch, Generation, Job, Order, RowStatus, Timings


def finish(store: Store, batch: Batch, rows: Sequence[Generation] | pa.RecordBatch = ()) -> None:
    claim = store.attempts.claim(batch.id, "worker", 5.0)
    assert claim is not None
    columns = rows if isinstance(rows, pa.RecordBatch) else from_rows(rows) if rows else generations(batch)
    assert store.attempts.finish(batch.id, claim.attempt, columns, Timings())


def indices(page: ResultsPage) -> list[int]:
    return page.rows.column("index").to_pylist()


def is_empty(page: ResultsPage) -> bool:
    """No rows, and no cursor."""
    return (page.rows.num_rows, page.next_cursor) == (0, None)


@pytest.fixture
def job(store: Store) -> Job:
    return make_job(store)


def test_a_row_is_kept_as_it_was_given(store: Store, job: Job) -> None:
    # Given one row of each status, one with everything and one with nothing that may be missing
    (batch,) = add_batches(store, job, (3,))
    full = Generation(
        index=0,
        id="ä-0 'quoted' {x} %s :y",
        text='Ein Text\n\twith 🙂, "quotes" and %s',
        status=RowStatus.OK,
        source="ret-v21-minilm",
        tokens=12,
        overall_quality=0.1,
        fluency=0.2,
        coherence=1 / 3,
        diversity=1.0,
        round_trip=-0.25,
        off_manifold=True,
        decode_ms=0.125,
    )
    error = Generation(index=1, status=RowStatus.ERROR, error_code="zero_vector", error="all zeros")
    fallback = Generation(index=2, text="", status=RowStatus.FALLBACK, source="phrase-bank", off_manifold=False)
    # When they are written, in any order
    finish(store, batch, [fallback, full, error])
    # Then they come back the same, by index
    assert read(store, job.id) == [full, error, fallback]
    counts = store.jobs.get(job.id).rows
    assert (counts.ok, counts.fallback, counts.error) == (1, 1, 1)


def test_text_that_no_database_can_keep_is_kept_as_it_can_be(store: Store, job: Job) -> None:
    # Given what a decoder or a client may come up with: NUL, half of a surrogate pair, not a number
    (batch,) = add_batches(store, job, (1,))
    row = Generation(
        index=0, id="i\ud83d", text="a\x00b\ud83d", status=RowStatus.OK, fluency=float("nan"), coherence=float("inf")
    )
    finish(store, batch, [row])
    # Then the row is there, without these
    (kept,) = read(store, job.id)
    assert (kept.id, kept.text, kept.fluency, kept.coherence) == ("i?", "a�b?", None, None)


def test_a_batch_of_many_rows_is_written_whole(store: Store, job: Job) -> None:
    (batch,) = add_batches(store, job, (5000,))
    finish(store, batch, generations(batch, errors=range(0, 5000, 7)))
    page = store.results.page(job.id, limit=5000)
    assert indices(page) == list(range(5000))
    assert page.next_cursor is None


@pytest.mark.parametrize("together", [1, 3, 8, 100])
@pytest.mark.parametrize("order", ["finished", "index"])
def test_columns_are_to_the_bit_what_was_written(
    store: Store, job: Job, order: Order, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given columns of numbers that are easily rounded, of flags and of texts, each with nulls in it
    monkeypatch.setattr(results, "_ROWS_A_FETCH", together)
    (batch,) = add_batches(store, job, (8,))
    numbers = [None, 0.1 + 0.2, 0.0, 5e-324, 1.7976931348623157e308, 1 / 3, 1e16, -1e-7]
    written = from_columns(
        range(8),
        id=["a", None, "", "猫", "🙂", "\\N", 'q"', "\t\r\n"],
        text=["", "é", "e\u0301", " ", "\u2028", "x" * 70_000, "%s ?", "\\x00"],
        status=["ok", "fallback"] * 4,
        source=[None, "d"] * 4,
        tokens=[None, 0, 1, 2**31 - 1] * 2,
        overall_quality=numbers,
        decode_ms=numbers[::-1],
        off_manifold=[None, True, False, None] * 2,
    )
    # When they are written, and read in any order, however many rows become columns at once
    finish(store, batch, written)
    found = store.results.page(job.id, order=order).rows
    # Then they are equal, and so are the bits of the numbers
    assert found.equals(written, check_metadata=True)
    for name in ("overall_quality", "decode_ms"):
        assert floats(found.column(name)).tobytes() == floats(written.column(name)).tobytes()


def test_rows_of_two_jobs_stay_apart(store: Store) -> None:
    first, second = make_job(store), make_job(store)
    (one,), (other,) = add_batches(store, first, (2,)), add_batches(store, second, (3,))
    finish(store, one)
    finish(store, other)
    assert indices(store.results.page(first.id)) == [0, 1]
    assert indices(store.results.page(second.id)) == [0, 1, 2]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7, 100])
def test_pages_of_any_size_have_every_row_once(store: Store, job: Job, limit: int) -> None:
    # Given batches that finished in another order than they have
    batches = add_batches(store, job, (2, 3, 1, 4))
    for batch in (batches[2], batches[0], batches[3], batches[1]):
        finish(store, batch)
    # When the rows are read page by page
    seen: list[int] = []
    cursor = None
    while True:
        page = store.results.page(job.id, cursor=cursor, limit=limit)
        assert 0 < page.rows.num_rows <= limit
        seen += indices(page)
        cursor = page.next_cursor
        if cursor is None:
            break
    # Then they come by batch in the order finished, and by index within it
    assert seen == [5, 0, 1, 6, 7, 8, 9, 2, 3, 4]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_reading_while_batches_finish_out_of_order_misses_nothing(store: Store, job: Job, limit: int) -> None:
    # Given a reader that reads what there is after each batch
    batches = add_batches(store, job, (2, 3, 1, 4))
    seen: list[int] = []
    cursor = None

    def read_what_there_is() -> None:
        nonlocal cursor
        while page := store.results.page(job.id, cursor=cursor, limit=limit):
            seen.extend(indices(page))
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    # When the batches finish, the last ones first
    for batch in reversed(batches):
        read_what_there_is()
        finish(store, batch)
    read_what_there_is()
    # Then every row was read, once
    assert seen == [6, 7, 8, 9, 5, 2, 3, 4, 0, 1]


def test_a_page_of_a_job_that_runs_says_where_to_go_on(store: Store, job: Job) -> None:
    first, second = add_batches(store, job, (2, 2))
    # Given nothing yet: no rows, and no cursor
    assert is_empty(store.results.page(job.id))
    # When one batch is done, then there is a cursor although nothing follows now
    finish(store, first)
    page = store.results.page(job.id)
    assert indices(page) == [0, 1]
    assert page.next_cursor is not None
    assert is_empty(store.results.page(job.id, cursor=page.next_cursor))
    # And the same cursor has what came afterwards, and then the end
    finish(store, second)
    last = store.results.page(job.id, cursor=page.next_cursor)
    assert indices(last) == [2, 3]
    assert last.next_cursor is None


def test_a_cancelled_job_has_an_end_too(store: Store, job: Job) -> None:
    first, _ = add_batches(store, job, (2, 2))
    finish(store, first)
    store.jobs.cancel(job.id)
    page = store.results.page(job.id)
    assert (indices(page), page.next_cursor) == ([0, 1], None)


@pytest.mark.parametrize("limit", [1, 3, 10, 11])
def test_pages_by_index_have_every_row_once_in_the_order_of_the_corpus(store: Store, job: Job, limit: int) -> None:
    for batch in reversed(add_batches(store, job, (2, 3, 1, 4))):
        finish(store, batch)
    seen: list[int] = []
    page = store.results.page(job.id, limit=limit, order="index")
    seen += indices(page)
    while page.next_cursor is not None:
        page = store.results.page(job.id, cursor=page.next_cursor, limit=limit, order="index")
        seen += indices(page)
    assert seen == list(range(10))


def test_many_small_batches_are_read_in_one_page(store: Store, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given more batches, with gaps between them, than one query asks for
    monkeypatch.setattr(results, "_RANGES_A_QUERY", 3)
    batches = add_batches(store, job, [1] * 16)
    for batch in reversed(batches[::2]):
        finish(store, batch)
    # When they are read, Then they come in the order finished; and so do the others, which fill the gaps
    assert indices(store.results.page(job.id)) == list(range(14, -1, -2))
    for batch in batches[1::2]:
        finish(store, batch)
    assert indices(store.results.page(job.id)) == [*range(14, -1, -2), *range(1, 16, 2)]


def test_batches_that_follow_each_other_in_the_corpus_are_read_as_one_range(
    store: Store, job: Job, engine: Engine
) -> None:
    # Given neighbours that finished in another order, and one batch on its own
    batches = add_batches(store, job, [2] * 6)
    for number in (2, 0, 1, 5):
        finish(store, batches[number])
    # When they are read
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    rows = indices(store.results.page(job.id))
    # Then the database is asked for two ranges, and the rows are in the order finished
    (of_rows,) = [statement for statement in asked if "FROM generations" in statement]
    assert of_rows.count(" OR ") == 1
    assert rows == [4, 5, 0, 1, 2, 3, 10, 11]


@pytest.mark.parametrize("order", ["finished", "index"])
def test_every_bit_of_a_number_comes_back(store: Store, job: Job, order: Order) -> None:
    # Given the floats at the ends of their range, and 1,000 of any bits, and integers likewise; each with nulls
    bits = np.random.default_rng(0).integers(0, 2**63, 1000, dtype=np.int64).view(np.float64)
    ends = [5e-324, -5e-324, 0.0, 0.1, 1 / 3, 1.7976931348623157e308, -1.7976931348623157e308, 2.2250738585072014e-308]
    numbers = [*bits[np.isfinite(bits)], None, *ends]
    count = len(numbers)
    tokens = [None, 0, 2**31 - 1, -(2**31)] + [7] * (count - 4)
    given = from_columns(
        range(count),
        status=RowStatus.OK,
        text=[f"猫 {row} \U0001f642 é" * (row % 5) for row in range(count)],
        tokens=tokens,
        fluency=numbers,
        round_trip=numbers[::-1],
        off_manifold=[(None, True, False)[row % 3] for row in range(count)],
    )
    (batch,) = add_batches(store, job, (count,))
    finish(store, batch, given)
    # When they are read, in pages that end within and between what the driver fetches at once
    pages = [store.results.page(job.id, limit=503, order=order)]
    while pages[-1].next_cursor is not None:
        pages.append(store.results.page(job.id, limit=503, cursor=pages[-1].next_cursor, order=order))
    found = pa.Table.from_batches([page.rows for page in pages]).combine_chunks().to_batches()[0]
    # Then each is the same to the bit (a zero with a sign was not tried: SQLite drops the sign)
    assert found.equals(given)
    for name in ("fluency", "round_trip"):
        assert floats(found.column(name)).tobytes() == floats(given.column(name)).tobytes()


@pytest.mark.parametrize("cursor", ["", "i5", "f1", "f1.", "f-1.0", "f1.2.3", "f٣.١", "5", "f" + "9" * 30 + ".1"])
def test_a_cursor_that_is_none_is_refused_by_name(store: Store, job: Job, cursor: str) -> None:
    with pytest.raises(InputError, match="is no cursor of results in the order finished"):
        store.results.page(job.id, cursor=cursor)


@pytest.mark.parametrize("cursor", ["", "f1.5", "i", "i-1", "ix"])
def test_a_cursor_of_the_other_order_is_refused_by_name(store: Store, job: Job, cursor: str) -> None:
    with pytest.raises(InputError, match="is no cursor of results in the order index"):
        store.results.page(job.id, cursor=cursor, order="index")


def test_a_cursor_beyond_the_end_finds_nothing(store: Store, job: Job) -> None:
    (batch,) = add_batches(store, job, (2,))
    finish(store, batch)
    for cursor in ("f1.1", "f1.99", "f7.0", "f999999999.999999999999999999"):
        assert is_empty(store.results.page(job.id, cursor=cursor))


def test_an_empty_page_cannot_be_asked_for(store: Store, job: Job) -> None:
    with pytest.raises(InputError, match="a page of 0 rows"):
        store.results.page(job.id, limit=0)


class TestDeadBatches:
    def dead(self, store: Store, batch: Batch) -> None:
        claim = store.attempts.claim(batch.id, "worker", 5.0)
        assert claim is not None
        store.attempts.fail(batch.id, claim.attempt, "worker_lost", "it died", final=True)

    def test_in_the_corpus_s_order_no_row_of_an_ended_job_is_absent(self, store: Store, job: Job) -> None:
        # Given a job of four batches, of which the first and the third are dead
        batches = add_batches(store, job, (2, 3, 1, 2))
        for position, batch in enumerate(batches):
            self.dead(store, batch) if position in (0, 2) else finish(store, batch)
        # When its rows are read in pages of any size
        for limit in (1, 2, 3, 100):
            rows: list[Generation] = []
            cursor = None
            while True:
                page = store.results.page(job.id, cursor=cursor, limit=limit, order="index")
                rows += rows_of(page.rows)
                cursor = page.next_cursor
                if cursor is None:
                    break
            # Then each is there once, and those of the dead batches say what became of them
            assert [row.index for row in rows] == list(range(8))
            assert [row.index for row in rows if row.status is RowStatus.ERROR] == [0, 1, 5]
            assert {(row.error_code, row.error) for row in rows if row.error_code} == {("worker_lost", "it died")}

    def test_while_the_job_runs_they_may_still_come(self, store: Store, job: Job) -> None:
        # Given a dead batch of a job that is not over, When rows are read, Then nothing is said of it yet
        dead, _ = add_batches(store, job, (2, 2))
        self.dead(store, dead)
        assert read(store, job.id, order="index") == []

    def test_once_it_was_retried_its_own_rows_take_their_place(self, store: Store, job: Job) -> None:
        # Given an ended job with a dead batch that is retried and done
        dead, done = add_batches(store, job, (2, 2))
        self.dead(store, dead)
        finish(store, done)
        store.requeue.retry(job.id, [dead.id])
        finish(store, dead)
        # When its rows are read, Then they are the decoder's
        rows = read(store, job.id, order="index")
        assert [(row.index, row.status) for row in rows] == [(index, RowStatus.OK) for index in range(4)]
