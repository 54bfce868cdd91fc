"""Jobs: created once, filled without gaps. On SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.builders import add_batches, make_job
from unembed.errors import ConflictError, IdempotencyError, InputError, NotFoundError
from unembed.models.store import Store
from unembed.schemas import BatchState, DecodeOptions, JobCreate, JobState

SHA = "a" * 64
OTHER_SHA = "b" * 64


def test_a_new_job_is_receiving_and_is_what_was_asked_for(store: Store) -> None:
    # When a job is created with everything set
    options = DecodeOptions(temperature=0.5, top_k=10, max_pieces=32)
    spec = JobCreate(embedding_dim=384, decoder="d", seed=2**62, options=options, name="näme", fingerprint="f")
    job, created = store.jobs.create(spec)
    # Then all of it is kept, and the clock is about ours, and UTC
    assert created
    assert job.state is JobState.RECEIVING
    assert (job.decoder, job.embedding_dim, job.seed, job.options, job.name) == ("d", 384, 2**62, options, "näme")
    assert abs(datetime.now(UTC) - job.created_at) < timedelta(minutes=1)
    assert store.jobs.get(job.id) == job


def test_a_job_that_is_not_there_is_not_found(store: Store) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.jobs.get("nothing"),
        lambda: store.jobs.batches("nothing"),
        lambda: store.jobs.dead_batches("nothing"),
        lambda: store.results.page("nothing"),
        lambda: store.jobs.cancel("nothing"),
        lambda: store.jobs.seal("nothing", 1, 1),
        lambda: store.jobs.add_batch("nothing", 0, 0, 1, 4, SHA),
    ]
    for call in calls:
        with pytest.raises(NotFoundError, match="'nothing'"):
            call()


class TestIdempotency:
    SPEC = JobCreate(embedding_dim=4, fingerprint="first")

    def test_the_same_key_and_spec_is_the_same_job(self, store: Store) -> None:
        job, _ = store.jobs.create(self.SPEC, client="c", idempotency_key="k")
        again, created = store.jobs.create(self.SPEC, client="c", idempotency_key="k")
        assert (again, created) == (job, False)

    def test_the_same_key_with_another_corpus_is_refused_naming_both(self, store: Store) -> None:
        store.jobs.create(self.SPEC, client="c", idempotency_key="k")
        other = self.SPEC.model_copy(update={"fingerprint": "second"})
        with pytest.raises(IdempotencyError, match=r"'k'.*another fingerprint.*'first'.*'second'"):
            store.jobs.create(other, client="c", idempotency_key="k")

    def test_a_job_that_was_begun_without_a_fingerprint_is_found_with_one(self, store: Store) -> None:
        # Its client gave it no key of its own, and reads the corpus for a fingerprint only to submit it again.
        spec = self.SPEC.model_copy(update={"fingerprint": None})
        job, _ = store.jobs.create(spec, client="c", idempotency_key="k")
        assert store.jobs.create(self.SPEC, client="c", idempotency_key="k") == (job, False)
        assert job.idempotency_key == "k"

    def test_the_same_key_with_other_options_is_refused(self, store: Store) -> None:
        store.jobs.create(self.SPEC, client="c", idempotency_key="k")
        other = self.SPEC.model_copy(update={"options": DecodeOptions(temperature=1.0), "seed": 1})
        with pytest.raises(IdempotencyError, match="another seed, options"):
            store.jobs.create(other, client="c", idempotency_key="k")

    def test_another_client_may_use_the_same_key(self, store: Store) -> None:
        first, _ = store.jobs.create(self.SPEC, client="c", idempotency_key="k")
        second, created = store.jobs.create(self.SPEC, client="d", idempotency_key="k")
        assert created
        assert second.id != first.id

    def test_without_a_key_every_job_is_new(self, store: Store) -> None:
        assert make_job(store).id != make_job(store).id

    def test_two_at_once_make_one_job(self, store: Store) -> None:
        # When several threads create a job with one key
        found: list[tuple[str, bool]] = []
        start = threading.Barrier(4)

        def create() -> None:
            start.wait()
            job, created = store.jobs.create(self.SPEC, idempotency_key="k")
            found.append((job.id, created))

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Then all got the same one, and one of them made it
        assert len({job_id for job_id, _ in found}) == 1
        assert sorted(created for _, created in found) == [False, False, False, True]


class TestAddingBatches:
    def test_a_batch_is_queued(self, store: Store) -> None:
        job = make_job(store)
        batch, created = store.jobs.add_batch(job.id, 0, 0, 3, 48, SHA)
        assert created
        assert (batch.id, batch.state, batch.rows, batch.attempt) == (f"{job.id}-0", BatchState.QUEUED, 3, 0)
        assert store.jobs.batches(job.id) == [batch]
        assert store.jobs.get(job.id).rows.total == 3

    def test_the_same_batch_again_is_found_not_added(self, store: Store) -> None:
        job = make_job(store)
        first, _ = store.jobs.add_batch(job.id, 0, 0, 3, 48, SHA)
        assert store.jobs.add_batch(job.id, 0, 0, 3, 48, SHA) == (first, False)

    def test_the_same_batch_again_is_found_even_after_the_seal(self, store: Store) -> None:
        # Given a client whose connection broke after its last batch, and another that sealed
        job = make_job(store)
        store.jobs.add_batch(job.id, 0, 0, 3, 48, SHA)
        store.jobs.seal(job.id, 1, 3)
        # When the first tries again, then it learns that the batch had arrived
        _, created = store.jobs.add_batch(job.id, 0, 0, 3, 48, SHA)
        assert not created

    @pytest.mark.parametrize(
        ("first_index", "rows", "sha", "name"),
        [(0, 3, OTHER_SHA, "sha256"), (1, 3, SHA, "first_index"), (0, 2, SHA, "rows")],
    )
    def test_the_same_ordinal_with_other_content_is_refused(
        self, store: Store, first_index: int, rows: int, sha: str, name: str
    ) -> None:
        job = make_job(store)
        store.jobs.add_batch(job.id, 0, 0, 3, 48, SHA)
        with pytest.raises(ConflictError, match=f"batch 0 .* received with {name}"):
            store.jobs.add_batch(job.id, 0, first_index, rows, 48, sha)

    @pytest.mark.parametrize(("first_index", "rows"), [(0, 1), (2, 4), (9, 3), (0, 100), (4, 2)])
    def test_rows_that_another_batch_has_are_refused(self, store: Store, first_index: int, rows: int) -> None:
        # Given rows 0 to 2 and 3 to 9
        job = make_job(store)
        add_batches(store, job, (3, 7), seal=False)
        # When a further batch has any of them, then it is refused
        with pytest.raises(ConflictError, match=r"overlap batch [01]"):
            store.jobs.add_batch(job.id, 2, first_index, rows, 48, SHA)

    def test_batches_may_arrive_in_any_order(self, store: Store) -> None:
        job = make_job(store)
        store.jobs.add_batch(job.id, 2, 6, 1, 16, SHA)
        store.jobs.add_batch(job.id, 0, 0, 3, 48, SHA)
        store.jobs.add_batch(job.id, 1, 3, 3, 48, SHA)
        assert [batch.ordinal for batch in store.jobs.batches(job.id)] == [0, 1, 2]
        assert store.jobs.seal(job.id, 3, 7).state is JobState.QUEUED

    def test_a_sealed_job_takes_no_more(self, store: Store) -> None:
        job = make_job(store)
        add_batches(store, job)
        with pytest.raises(ConflictError, match="is queued and takes no more batches"):
            store.jobs.add_batch(job.id, 2, 4, 2, 32, SHA)

    def test_a_cancelled_job_takes_no_more(self, store: Store) -> None:
        job = make_job(store)
        store.jobs.cancel(job.id)
        with pytest.raises(ConflictError, match="is cancelled and takes no more batches"):
            store.jobs.add_batch(job.id, 0, 0, 2, 32, SHA)

    @pytest.mark.parametrize(("ordinal", "first_index", "rows"), [(-1, 0, 1), (0, -1, 1), (0, 0, 0)])
    def test_numbers_that_cannot_be_are_refused(self, store: Store, ordinal: int, first_index: int, rows: int) -> None:
        job = make_job(store)
        with pytest.raises(InputError, match=f"batch {ordinal}, {rows} rows from {first_index}"):
            store.jobs.add_batch(job.id, ordinal, first_index, rows, 0, SHA)
