from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from unembed.corpus import Slice, decode_payload, decode_raw, encode_payload
from unembed.errors import CorpusError


def stream(*batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def vectors(rows: int = 5, dim: int = 3, dtype: str = "float32") -> np.ndarray:
    return np.arange(rows * dim, dtype=dtype).reshape(rows, dim)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_vectors_and_ids_come_back_as_they_were_sent(dtype: str) -> None:
    # Given vectors of a float type, with ids
    sent = vectors(dtype=dtype)
    # When they are encoded and decoded
    got = decode_payload(encode_payload(sent, ["a", "b", "c", "d", "é"]))
    # Then nothing has changed, the type included
    assert got.embeddings.dtype == sent.dtype
    np.testing.assert_array_equal(got.embeddings, sent)
    assert got.ids == ("a", "b", "c", "d", "é")
    assert (got.first_index, len(got), got.dim) == (0, 5, 3)


def test_the_same_rows_give_the_same_bytes_whatever_their_memory_layout() -> None:
    # Given one matrix in three layouts
    plain = vectors()
    layouts = [plain, np.asfortranarray(plain), plain.astype(">f4")]
    # When each is encoded, Then the bytes are equal: their sha256 names the batch
    assert len({encode_payload(layout) for layout in layouts}) == 1


def test_rows_that_are_not_finite_are_carried() -> None:
    # Given NaN, infinity and zeros among the rows
    sent = vectors()
    sent[1, 0], sent[2, 1], sent[3] = np.nan, np.inf, 0
    # When they travel, Then they arrive: the worker makes error rows of them
    np.testing.assert_array_equal(decode_payload(encode_payload(sent)).embeddings, sent)


def test_a_null_vector_becomes_not_a_number() -> None:
    # Given a stranger's stream with a null vector and a null value
    column = pa.array([[1.0, 2.0], None, [3.0, None]], type=pa.list_(pa.float32(), 2))
    # When it is decoded
    got = decode_payload(stream(pa.record_batch({"embedding": column})))
    # Then the nulls are NaN, in place
    np.testing.assert_array_equal(got.embeddings, np.array([[1, 2], [np.nan, np.nan], [3, np.nan]], np.float32))


def test_decoding_copies_no_vectors() -> None:
    # Given a payload, When it is decoded
    got = decode_payload(encode_payload(vectors(1000, 64)))
    # Then the vectors lie in the payload's own memory
    assert not got.embeddings.flags.owndata


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a readable Arrow IPC stream"),
        (b"garbage" * 40, "not a readable Arrow IPC stream"),
        (encode_payload(vectors())[:-200], "not a readable Arrow IPC stream"),
        (
            stream(pa.record_batch({"embeddings": pa.array([[1.0]], pa.list_(pa.float32(), 1))})),
            "no column 'embedding'",
        ),
        (stream(pa.record_batch({"embedding": pa.array([[1.0]], pa.list_(pa.float32()))})), "not a fixed_size_list"),
        (stream(pa.record_batch({"embedding": pa.array([[1]], pa.list_(pa.int32(), 1))})), "int32"),
        (stream(pa.record_batch({"embedding": pa.array([], pa.list_(pa.float32(), 1))})), "0 rows"),
    ],
)
def test_a_damaged_or_foreign_stream_is_refused(data: bytes, says: str) -> None:
    # Given bytes that are no payload, When they are decoded, Then the error says what was expected
    with pytest.raises(CorpusError, match=says):
        decode_payload(data)


def test_two_record_batches_are_refused() -> None:
    # Given a stream of two batches
    batch = pa.record_batch({"embedding": pa.array([[1.0]], pa.list_(pa.float32(), 1))})
    # When it is decoded, Then both numbers are named
    with pytest.raises(CorpusError, match=r"2 record batches.*exactly 1"):
        decode_payload(stream(batch, batch))


def test_an_id_may_be_null() -> None:
    # Given ids with a hole
    batch = pa.record_batch({"embedding": pa.array([[1.0], [2.0]], pa.list_(pa.float32(), 1)), "id": ["a", None]})
    # When they are decoded, and encoded again, Then the hole is still there
    got = decode_payload(stream(batch))
    assert got.ids == ("a", None)
    assert decode_payload(encode_payload(got.embeddings, got.ids)).ids == ("a", None)


def test_why_rows_hold_no_vector_travels_with_them() -> None:
    sent = vectors()
    sent[1] = np.nan
    assert decode_payload(encode_payload(sent, faults={1: "is empty"})).faults == {1: "is empty"}
    assert decode_payload(encode_payload(sent)).faults == {}
    batch = pa.record_batch({"embedding": pa.array([[1.0]], pa.list_(pa.float32(), 1)), "fault": [7]})
    with pytest.raises(CorpusError, match="'fault' of the batch is int64, but must be string"):
        decode_payload(stream(batch))


def test_raw_bytes_are_little_endian_rows() -> None:
    # Given bare bytes of two rows
    got = decode_raw(vectors(2, 3, "float16").tobytes(), "float16", 3)
    # Then they are the rows
    assert isinstance(got, Slice)
    np.testing.assert_array_equal(got.embeddings, vectors(2, 3, "float16"))


@pytest.mark.parametrize(
    ("data", "dtype", "says"),
    [(b"", "float32", "0 bytes"), (b"x" * 13, "float32", "13 bytes"), (b"x" * 8, "int64", "int64")],
)
def test_raw_bytes_that_are_no_whole_rows_are_refused(data: bytes, dtype: str, says: str) -> None:
    # Given too few bytes or another type, When they are decoded, Then the error names what came
    with pytest.raises(CorpusError, match=says):
        decode_raw(data, dtype, 3)
