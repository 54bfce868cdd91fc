"""What was ever done is counted: by decoder and worker, exactly, and it never becomes less."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, event, select, text, update

from tests.builders import add_batches, generations, make_job, run_job
from unembed.models.database import downgrade, upgrade
from unembed.models.store import Store
from unembed.models.store.sql import BATCHES, WORKERS
from unembed.models.store.totals import SweepAction
from unembed.models.store.values import Total
from unembed.models.tables import TOTALS
from unembed.schemas import Batch, RowStatus, Timings

WORKER, OTHER = "one@here", "two@here"


def ends(store: Store) -> dict[tuple[str, str], int]:
    """How many batches ended so, of all decoders."""
    found: dict[tuple[str, str], int] = {}
    for total in store.totals.all().ends:
        found[total.outcome, total.code] = found.get((total.outcome, total.code), 0) + total.batches
    return found


def done(store: Store) -> Total:
    (total,) = (total for total in store.totals.all().ends if total.outcome == "done")
    return total


def attempt(store: Store, batch: Batch, worker: str = WORKER) -> int:
    claim = store.attempts.claim(batch.id, worker, 60.0)
    assert claim is not None
    return claim.attempt


def finish(store: Store, batch: Batch, *, errors: tuple[int, ...] = (), decode_ms: float = 0.0) -> None:
    number = attempt(store, batch)
    rows = generations(batch, errors=errors)
    assert store.attempts.finish(batch.id, number, rows, Timings(decode_ms=decode_ms))


def test_a_batch_that_is_done_is_counted_once_with_its_rows_times_and_quality(store: Store) -> None:
    # Given a batch of four rows, one of them an error, decoded in 80 ms
    (batch,) = add_batches(store, make_job(store, decoder="toy"), (4,))
    finish(store, batch, errors=(1,), decode_ms=80.0)
    # When its worker says so again, Then it is counted once all the same
    assert store.attempts.finish(batch.id, 1, generations(batch, errors=(1,)), Timings())
    total = done(store)
    assert (total.decoder, total.code, total.batches) == ("toy", "", 1)
    assert total.rows == {RowStatus.OK: 3, RowStatus.FALLBACK: 0, RowStatus.ERROR: 1}
    # And each of its rows took 20 ms; the three that have one had a quality of 0.5
    row, quality = total.histograms["row"], total.histograms["quality"]
    assert {bound: number for bound, number in zip(row.bounds, row.counts, strict=False) if number} == {0.03: 4}
    assert row.total == pytest.approx(0.08)
    assert {bound: number for bound, number in zip(quality.bounds, quality.counts, strict=False) if number} == {0.5: 3}
    assert quality.total == pytest.approx(1.5)


def test_how_long_a_batch_took_is_counted_from_its_acceptance_whatever_it_went_through(
    store: Store, engine: Engine
) -> None:
    # Given a batch that was accepted an hour before now, and whose first attempt failed
    (batch,) = add_batches(store, make_job(store), (2,))
    with engine.begin() as connection:
        hour = "datetime('now', '-1 hour')" if engine.dialect.name == "sqlite" else "now() - interval '1 hour'"
        connection.execute(text(f"UPDATE batches SET accepted_at = {hour}"))
    store.attempts.fail(batch.id, attempt(store, batch), "broken", "for a test")
    # When the next one succeeds
    finish(store, batch)
    # Then it waited for an hour, though it was queued anew a moment ago
    for name in ("start", "end"):
        waited = done(store).histograms[name]
        assert waited.total == pytest.approx(3600, abs=60)
        assert sum(waited.counts) == 1


def test_each_end_is_counted_by_its_outcome_and_the_errors_code(store: Store) -> None:
    # Given batches that end in every way there is
    job = make_job(store)
    failing, lost, returned, cancelled, waiting = add_batches(store, job, (2, 2, 2, 2, 2))
    store.attempts.fail(failing.id, attempt(store, failing), "out_of_memory", "for a test")
    store.attempts.fail(failing.id, attempt(store, failing), "decode_failed", "for a test", final=True)
    attempt(store, lost, OTHER)
    store.sweeping.reclaim(OTHER)
    store.sweeping.fail_missing_payloads([lost.id])
    store.attempts.release(returned.id, attempt(store, returned))
    running = attempt(store, cancelled)
    store.jobs.cancel(job.id)
    store.attempts.cancel_running(cancelled.id, running)
    # Then each is counted
    assert waiting.id
    assert ends(store) == {
        ("retried", "out_of_memory"): 1,
        ("dead", "decode_failed"): 1,
        ("retried", "worker_lost"): 1,
        ("dead", "payload_missing"): 1,
        ("handed_back", ""): 1,
        ("cancelled", ""): 3,
    }
    # And the rows of those that are dead are errors
    assert store.totals.stored_rows()[RowStatus.ERROR] == 4


def test_removing_a_job_lowers_no_total_and_takes_its_rows_out_of_the_store(store: Store) -> None:
    # Given a job that is done, and one that failed and was tried again
    first, second = make_job(store), make_job(store)
    add_batches(store, first, (3,))
    run_job(store, first)
    (batch,) = add_batches(store, second, (2,))
    store.attempts.fail(batch.id, attempt(store, batch), "broken", "for a test", final=True)
    store.requeue.retry(second.id, [batch.id])
    assert store.totals.stored_rows() == {RowStatus.OK: 3, RowStatus.FALLBACK: 0, RowStatus.ERROR: 0}
    run_job(store, second)
    before = store.totals.all()
    # When both are removed
    for job in (first, second):
        store.jobs.remove(job.id)
    # Then what was done stays so, and nothing is stored
    assert store.totals.all() == before
    assert store.totals.stored_rows() == dict.fromkeys(RowStatus, 0)


def test_a_worker_that_is_long_gone_has_no_row_and_what_it_did_still_counts(store: Store, engine: Engine) -> None:
    # Given what two workers did, one of which was last seen long ago
    job = make_job(store)
    for worker, batch in zip((WORKER, OTHER), add_batches(store, job, (2, 3)), strict=True):
        store.workers.check_in(worker, "here", 1, "cpu", "float32")
        assert store.attempts.finish(batch.id, attempt(store, batch, worker), generations(batch), Timings())
    assert {total.worker: total.rows for total in store.totals.all().workers} == {WORKER: 2, OTHER: 3}
    with engine.begin() as connection:
        old = select(BATCHES.c.accepted_at).limit(1).scalar_subquery()
        connection.execute(update(WORKERS).where(WORKERS.c.name == WORKER).values(last_seen=old))
        ago = "datetime(last_seen, '-8 days')" if engine.dialect.name == "sqlite" else "last_seen - interval '8 days'"
        connection.execute(text(f"UPDATE workers SET last_seen = {ago} WHERE name = '{WORKER}'"))
    before = store.totals.all().ends
    # When the totals are folded, twice
    store.totals.fold()
    store.totals.fold()
    # Then it is shown by its name no more, and the decoder's total is what it was
    assert [total.worker for total in store.totals.all().workers] == [OTHER]
    assert store.totals.all().ends == before
    with engine.connect() as connection:
        assert sorted(connection.scalars(select(TOTALS.c.worker))) == ["", OTHER]


def test_what_sweeps_did_adds_up(store: Store) -> None:
    # Given two sweeps, When they are counted, Then what was not done is 0 and not absent
    store.totals.count_sweep({SweepAction.MESSAGE_SENT: 2, SweepAction.LEASE_EXPIRED: 0})
    store.totals.count_sweep({SweepAction.MESSAGE_SENT: 1})
    assert store.totals.all().sweeps == dict.fromkeys(SweepAction, 0) | {"sweep": 2, "message_sent": 3}


def test_the_end_of_a_batch_takes_one_statement_more(store: Store, engine: Engine) -> None:
    # Given a batch that is decoded
    (batch,) = add_batches(store, make_job(store), (2,))
    number, statements = attempt(store, batch), []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: statements.append(statement))
    # When it ends, Then its totals are one statement
    assert store.attempts.finish(batch.id, number, generations(batch), Timings())
    assert sum("totals" in statement for statement in statements) == 1


def test_what_was_done_before_there_were_totals_is_counted_by_the_migration(store: Store, engine: Engine) -> None:
    # Given a store of the version before, with rows and a dead batch
    good, bad = add_batches(store, make_job(store), (3, 2))
    finish(store, good, errors=(0,))
    store.attempts.fail(bad.id, attempt(store, bad), "broken", "for a test", final=True)
    stored = store.totals.stored_rows()
    downgrade(engine, "0015")
    # When it is migrated, Then its rows are counted as they are
    upgrade(engine)
    assert store.totals.stored_rows() == stored == {RowStatus.OK: 2, RowStatus.FALLBACK: 0, RowStatus.ERROR: 3}
    assert ends(store) == {("done", ""): 1, ("dead", "broken"): 1}
