"""SQL refuses the states that must not be, by the constraint's name, whoever asks for them."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from tests.builders import add_batches, generations, make_job
from unembed.models.store import Store
from unembed.schemas import Timings


@pytest.mark.parametrize(
    ("constraint", "statement"),
    [
        ("ck_jobs_state", "UPDATE jobs SET state = 'lost'"),
        ("ck_jobs_ended_has_finished_at", "UPDATE jobs SET state = 'failed'"),
        ("ck_jobs_ended_has_finished_at", "UPDATE jobs SET finished_at = created_at"),
        ("ck_jobs_unsealed_only_receiving", "UPDATE jobs SET sealed_at = NULL"),
        ("ck_batches_state", "UPDATE batches SET state = 'lost' WHERE ordinal = 1"),
        ("ck_batches_has_rows", "UPDATE batches SET rows = 0 WHERE ordinal = 1"),
        ("ck_batches_payload_or_reference", "UPDATE batches SET bytes = 0 WHERE ordinal = 1"),
        ("ck_batches_payload_or_reference", "UPDATE batches SET reference = '{}' WHERE ordinal = 1"),
        ("ck_batches_part_is_done", "UPDATE batches SET part = '{}' WHERE ordinal = 1"),
        ("ck_batches_attempts", "UPDATE batches SET attempt = max_attempts + 1"),
        ("ck_batches_attempts", "UPDATE batches SET attempt = -1"),
        ("ck_batches_running_has_lease", "UPDATE batches SET state = 'running' WHERE ordinal = 1"),
        ("ck_batches_running_has_lease", "UPDATE batches SET lease_until = queued_at WHERE ordinal = 1"),
        ("ck_batches_ended", "UPDATE batches SET state = 'cancelled' WHERE ordinal = 1"),
        ("ck_batches_ended", "UPDATE batches SET finished_at = queued_at WHERE ordinal = 1"),
        ("ck_batches_done_has_ordinal", "UPDATE batches SET done_ordinal = NULL WHERE ordinal = 0"),
        ("ck_batches_done_has_ordinal", "UPDATE batches SET done_ordinal = 2 WHERE ordinal = 1"),
        ("ck_batches_done_is_whole", "UPDATE batches SET rows_ok = 0 WHERE ordinal = 0"),
        ("ck_batches_dead_is_error", "UPDATE batches SET state = 'dead', finished_at = queued_at WHERE ordinal = 1"),
        ("ck_batches_unwritten_while_running", "UPDATE batches SET rows_unwritten = 1 WHERE ordinal = 1"),
        ("ck_jobs_priority", "UPDATE jobs SET priority = 'urgent'"),
        ("ck_generations_status", "UPDATE generations SET status = 'fine', error_code = NULL WHERE \"index\" = 0"),
        ("ck_generations_text_unless_error", 'UPDATE generations SET text = NULL WHERE "index" = 0'),
        ("ck_generations_text_unless_error", "UPDATE generations SET text = 'x' WHERE \"index\" = 1"),
        ("ck_generations_code_if_error", "UPDATE generations SET error_code = 'x' WHERE \"index\" = 0"),
        ("ck_generations_code_if_error", 'UPDATE generations SET error_code = NULL WHERE "index" = 1'),
    ],
)
def test_an_illegal_state_is_refused_by_name(store: Store, engine: Engine, constraint: str, statement: str) -> None:
    # Given a job with one batch that is done, with a text and an error, and one that waits
    done, _ = add_batches(store, make_job(store), (2, 2))
    store.attempts.claim(done.id, "worker", 5.0)
    store.attempts.finish(done.id, 1, generations(done, errors=(1,)), Timings())
    # When somebody writes what must not be, past the store
    with pytest.raises(IntegrityError) as refused, engine.begin() as connection:
        connection.execute(text(statement))
    # Then the database says which rule forbids it
    assert constraint in str(refused.value.orig)


@pytest.mark.parametrize(
    ("constraint", "columns", "statement"),
    [
        ("uq_batches_ordinal", "job_id, batches.ordinal", "UPDATE batches SET ordinal = 0"),
        ("uq_batches_first_index", "job_id, batches.first_index", "UPDATE batches SET first_index = 0"),
        ("uq_jobs_idempotency", "client, jobs.idempotency_key", "UPDATE jobs SET idempotency_key = 'k'"),
        ("fk_batches_job_id", "FOREIGN KEY", "UPDATE batches SET job_id = 'nothing'"),
        ("fk_generations_batch_id", "FOREIGN KEY", "UPDATE generations SET batch_id = 'nothing'"),
    ],
)
def test_a_second_one_or_one_that_belongs_to_nothing_is_refused(
    store: Store, engine: Engine, constraint: str, columns: str, statement: str
) -> None:
    make_job(store)
    done, _ = add_batches(store, make_job(store), (2, 2))
    store.attempts.claim(done.id, "worker", 5.0)
    store.attempts.finish(done.id, 1, generations(done), Timings())
    with pytest.raises(IntegrityError) as refused, engine.begin() as connection:
        connection.execute(text(statement))
    # SQLite names the columns of what must be unique, not the constraint
    assert (columns if engine.dialect.name == "sqlite" else constraint) in str(refused.value.orig)


def test_a_job_takes_its_batches_and_rows_along(store: Store, engine: Engine) -> None:
    (batch,) = add_batches(store, make_job(store), (2,))
    store.attempts.claim(batch.id, "worker", 5.0)
    store.attempts.finish(batch.id, 1, generations(batch), Timings())
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs"))
        left = [connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in ("batches", "generations")]
    assert left == [0, 0]
