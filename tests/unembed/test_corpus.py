from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unembed.corpus import Corpus, as_corpus, corpus_from_array, open_corpus
from unembed.corpus.cells import fitted, read_cells
from unembed.errors import CorpusError

ROWS, DIM = 10, 4
VECTORS = np.arange(ROWS * DIM, dtype=np.float32).reshape(ROWS, DIM) / 8
IDS = [f"row-{i}" for i in range(ROWS)]


def table(kind: pa.DataType | None = None, name: str = "embedding", **more: Any) -> pa.Table:
    column = pa.array(VECTORS.tolist(), type=kind or pa.list_(pa.float32()))
    return pa.table({name: column, **more})


def npy(path: Path, array: Any = VECTORS) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def npz(path: Path) -> Path:
    np.savez(path, embedding=VECTORS, id=np.array(IDS))
    return path


def npz_compressed(path: Path) -> Path:
    np.savez_compressed(path, emb=np.asfortranarray(VECTORS), id=np.array(IDS))
    return path


def parquet(path: Path, data: pa.Table | None = None) -> Path:
    pq.write_table(data if data is not None else table(id=IDS), path, row_group_size=3)
    return path


def parquet_fixed(path: Path) -> Path:
    return parquet(path, table(pa.list_(pa.float32(), DIM), name="vector", id=IDS))


def arrow_file(path: Path) -> Path:
    data = table(id=IDS)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, data.schema) as writer:
        writer.write_table(data, max_chunksize=3)
    return path


def arrow_stream(path: Path) -> Path:
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(VECTORS)
    data = pa.table({"values": tensor, "id": IDS})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_table(data, max_chunksize=4)
    return path


def jsonl(path: Path, rows: list[Any] | None = None) -> Path:
    rows = (
        rows if rows is not None else [{"id": i, "embeddings": v} for i, v in zip(IDS, VECTORS.tolist(), strict=True)]
    )
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    return path


def jsonl_base64(path: Path) -> Path:
    coded = [base64.b64encode(vector.tobytes()).decode() for vector in VECTORS]
    return jsonl(path, [{"id": i, "emb": v} for i, v in zip(IDS, coded, strict=True)])


def vectors_in(corpus: Corpus, size: int = 4) -> np.ndarray:
    return np.concatenate([batch.embeddings for batch in corpus.batches(size)])


READABLE: list[tuple[str, Callable[[Path], Path]]] = [
    ("a.npy", npy),
    ("a.npz", npz),
    ("b.npz", npz_compressed),
    ("a.parquet", parquet),
    ("b.parquet", parquet_fixed),
    ("a.arrow", arrow_file),
    ("b.arrow", arrow_stream),
    ("c.feather", arrow_file),
    ("a.jsonl", jsonl),
    ("b.jsonl", jsonl_base64),
]


@pytest.mark.parametrize(("name", "write"), READABLE)
def test_every_format_gives_the_same_batches(tmp_path: Path, name: str, write: Callable[[Path], Path]) -> None:
    # Given the same vectors in a file of each format
    corpus = open_corpus(write(tmp_path / name))
    # When they are cut into batches of 4
    batches = list(corpus.batches(4))
    # Then the cuts, the vectors and the ids are the same, and so is a second reading
    assert (corpus.rows, corpus.dim, corpus.dtype) == (ROWS, DIM, np.float32)
    assert [(batch.first_index, len(batch)) for batch in batches] == [(0, 4), (4, 4), (8, 2)]
    np.testing.assert_array_equal(vectors_in(corpus), VECTORS)
    ids = [id_ for batch in batches for id_ in batch.ids or ()]
    assert ids == ([] if name == "a.npy" else IDS)


@pytest.mark.parametrize("size", [1, 3, 7, 10, 99])
def test_batches_do_not_depend_on_the_layout_of_the_file(tmp_path: Path, size: int) -> None:
    # Given a parquet file with row groups of 3, When it is cut at any size
    batches = list(open_corpus(parquet(tmp_path / "a.parquet")).batches(size))
    # Then every batch but the last has that size, and nothing is lost
    assert all(len(batch) == size for batch in batches[:-1])
    np.testing.assert_array_equal(np.concatenate([b.embeddings for b in batches]), VECTORS)


def test_a_batch_size_below_one_is_refused() -> None:
    # Given a corpus, When it is cut at 0, Then the number is named
    with pytest.raises(CorpusError, match="batch size is 0"):
        next(corpus_from_array(VECTORS).batches(0))


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_every_width_and_byte_order_of_floats_is_read(tmp_path: Path, dtype: str) -> None:
    # Given vectors of another float type, When they are read, Then the values are the same
    np.testing.assert_array_equal(vectors_in(open_corpus(npy(tmp_path / "a.npy", VECTORS.astype(dtype)))), VECTORS)


def test_a_npy_file_is_mapped_not_loaded(tmp_path: Path) -> None:
    # Given a .npy file, When a batch of it is taken
    batch = next(open_corpus(npy(tmp_path / "a.npy")).batches(2))
    # Then it is a view of the file
    assert isinstance(batch.embeddings, np.memmap)


def test_a_lone_array_of_an_npz_needs_no_name(tmp_path: Path) -> None:
    # Given an archive that numpy named itself, When it is opened, Then its only array is the corpus
    np.savez(tmp_path / "a.npz", VECTORS)
    assert open_corpus(tmp_path / "a.npz").rows == ROWS


@pytest.mark.parametrize("shape", [(ROWS, 1, DIM), (ROWS, DIM, 1), (1, ROWS, DIM)])
def test_axes_of_one_element_fall_away(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(vectors_in(open_corpus(npy(tmp_path / "a.npy", VECTORS.reshape(shape)))), VECTORS)


def test_one_vector_is_a_corpus_of_one_row(tmp_path: Path) -> None:
    np.testing.assert_array_equal(vectors_in(open_corpus(npy(tmp_path / "a.npy", VECTORS[3]))), VECTORS[3:4])


@pytest.mark.parametrize("dtype", ["i1", "<i4", ">i8", "u2"])
def test_integers_in_arrays_are_as_good_as_floats(tmp_path: Path, dtype: str) -> None:
    corpus = open_corpus(npy(tmp_path / "a.npy", (VECTORS * 8).astype(dtype)))
    np.testing.assert_array_equal(vectors_in(corpus), VECTORS * 8)
    assert vectors_in(corpus).dtype == corpus.dtype == np.float32


@pytest.mark.parametrize("name", ["ids", "_id", "custom_id", "uuid", "Key"])
def test_ids_of_an_archive_are_found_by_their_usual_names(tmp_path: Path, name: str) -> None:
    # Given arrays beside the vectors, one of them of a usual name but of another length
    ids = np.array([*IDS[:9], "a\0b"]) if name == "ids" else np.arange(ROWS)
    np.savez(tmp_path / "a.npz", **{"emb": VECTORS, name: ids, "doc_id": np.arange(3)})
    # When it is opened, Then they are the ids; and another that is asked for is refused
    (batch,) = open_corpus(tmp_path / "a.npz").batches(ROWS)
    assert batch.ids == ((*IDS[:9], None) if name == "ids" else tuple(map(str, range(ROWS))))
    with pytest.raises(CorpusError, match=r"'doc_id' .* has the dtype .* and the shape \(3,\)"):
        open_corpus(tmp_path / "a.npz", id_column="doc_id")


def test_integer_ids_become_strings(tmp_path: Path) -> None:
    # Given ids that are integers, When they are read, Then they are strings
    corpus = open_corpus(parquet(tmp_path / "a.parquet", table(id=list(range(ROWS)))))
    assert next(corpus.batches(2)).ids == ("0", "1")


def test_the_columns_can_be_named(tmp_path: Path) -> None:
    # Given a table with columns of unusual names, and a `values` that holds none
    path = parquet(tmp_path / "a.parquet", table(name="v", key=IDS, values=list(range(ROWS))))
    # When they are named, Then they are read; and an empty name of the ids means none
    assert next(open_corpus(path, "v", "key").batches(1)).ids == ("row-0",)
    assert next(open_corpus(path, "v", "").batches(1)).ids is None


def test_a_column_of_another_kind_does_not_make_two_candidates(tmp_path: Path) -> None:
    # Given a column `values` of numbers beside one of vectors, When it is opened, Then the vectors are found
    assert open_corpus(parquet(tmp_path / "a.parquet", table(values=list(range(ROWS))))).dim == DIM


def test_nulls_and_nan_in_json_become_nan(tmp_path: Path) -> None:
    # Given null in a vector, a vector that is null, NaN, and a number too large for float32
    rows = [{"embedding": v} for v in ([1, None], None, [float("nan"), 2.5], [1e300, 10**400])]
    # When they are read
    got = vectors_in(open_corpus(jsonl(tmp_path / "a.jsonl", rows)))
    # Then they are rows that are not finite, and the others are as they were
    expected = np.array([[1, np.nan], [np.nan, np.nan], [np.nan, 2.5], [np.inf, np.inf]], np.float32)
    np.testing.assert_array_equal(got, expected)


def test_a_null_vector_in_parquet_becomes_nan(tmp_path: Path) -> None:
    # Given nulls in lists of either kind, the first row among them
    values = [None, [1.0, 2.0], [3.0, None]]
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.float32())):
        path = parquet(tmp_path / "a.parquet", pa.table({"emb": pa.array(values, kind)}))
        # When they are read, Then they are NaN, in place
        expected = np.array([[np.nan, np.nan], [1, 2], [3, np.nan]], np.float32)
        np.testing.assert_array_equal(vectors_in(open_corpus(path)), expected)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.float32())])
def test_a_view_of_a_column_is_read_where_it_begins(kind: pa.DataType) -> None:
    # Given rows 2 to 4 of a column with nulls
    column = pa.array([[1.0, 2.0], None, [3.0, 4.0], None, [5.0, None], [7.0, 8.0]], kind)[2:5]
    # When it is read, Then it is those rows
    expected = np.array([[3, 4], [np.nan, np.nan], [5, np.nan]], np.float32)
    np.testing.assert_array_equal(fitted(read_cells(column), 2, np.dtype(np.float32))[0], expected)


def test_the_fingerprint_follows_the_contents(tmp_path: Path) -> None:
    # Given a file, its copy, and one with another value
    one, two, other = (npy(tmp_path / f"{name}.npy") for name in "abc")
    npy(other, VECTORS + 1)
    # When they are fingerprinted, Then the copy is the same and the other is not; so it is for arrays
    assert open_corpus(one).fingerprint == open_corpus(two).fingerprint != open_corpus(other).fingerprint
    assert corpus_from_array(VECTORS).fingerprint == corpus_from_array(VECTORS.copy()).fingerprint
    assert corpus_from_array(VECTORS).fingerprint != corpus_from_array(VECTORS, IDS).fingerprint


def test_arrays_lists_and_iterables_are_corpora() -> None:
    # Given the same rows as an array, as lists and as an iterator, When each is made a corpus, Then all hold them
    for source in (VECTORS, VECTORS.tolist(), iter(VECTORS), tuple(VECTORS)):
        np.testing.assert_array_equal(vectors_in(as_corpus(source, ids=IDS)), VECTORS)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        ([], "0 rows"),
        (np.zeros((0, 4), np.float32), "0 rows"),
        (np.zeros((3, 0), np.float32), "0 dimensions"),
        (np.zeros((2, 2, 2), np.float32), r"shape \(2, 2, 2\).*two axes"),
        (np.zeros((2, 2), np.uint8), "uint8 values, which .* say which with --cells uint8"),
        (np.zeros((2, 2), np.complex64), "complex64 values, but embeddings are float16, float32, float64 or integers"),
        (np.array([[1.0, "x"]], object), "row 0 has the value 'x', but embeddings are numbers"),
        (["ab", "cd"], "row 0 is the text 'ab': neither a list of numbers nor base64"),
        ([None, []], "row 0 is null or missing; row 1 is empty"),
        (3.5, "not float"),
    ],
)
def test_an_array_that_is_no_corpus_is_refused(array: Any, says: str) -> None:
    # Given something else than (N, D) floats, When it is made a corpus, Then the error names it and what is expected
    with pytest.raises(CorpusError, match=says):
        corpus_from_array(array)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["a"], "10 rows, but there are 1 ids"),
        ([*IDS[:9], True], "row 9 of the array is True"),
        ([*IDS[:9], "a\0b"], "row 9"),
        ([*IDS[:9], "\ud800"], "row 9"),
    ],
)
def test_ids_that_are_no_ids_are_refused(ids: list[Any], says: str) -> None:
    # Given too few ids or ids of another type, When they join vectors, Then the row or the numbers are named
    with pytest.raises(CorpusError, match=says):
        corpus_from_array(VECTORS, ids)


def test_a_pickle_is_refused_and_never_loaded(tmp_path: Path) -> None:
    # Given files whose loading would run code
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Trap()))
    npy(tmp_path / "object.npy", np.array([[Trap()]], object))
    np.savez(tmp_path / "object.npz", embedding=np.array([[Trap()]], object))
    # When they are opened, Then the error says why they are refused
    for name in ("raw.npy", "object.npy", "object.npz"):
        with pytest.raises(CorpusError, match="pickle"):
            open_corpus(tmp_path / name)
    # And nothing ran
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("name", "write"), READABLE)
def test_a_truncated_file_is_an_error_and_never_a_shorter_corpus(
    tmp_path: Path, name: str, write: Callable[[Path], Path]
) -> None:
    # Given a file of each format without its last bytes
    path = write(tmp_path / name)
    data = path.read_bytes()
    for kept in (len(data) - 12, len(data) * 4 // 7, 3, 0):
        path.write_bytes(data[:kept])
        # When it is read, Then it is a CorpusError that names the file
        with pytest.raises(CorpusError, match=str(path)):
            vectors_in(open_corpus(path))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (pa.table({"text": ["a"]}), r"no column named embedding or .* its columns are 'text'"),
        (table(emb=VECTORS.tolist()), "2 columns of vectors, 'embedding', 'emb'"),
        (pa.table({"embedding": ["a b"]}), "row 0 is the text 'a b': neither a list of numbers nor base64"),
        (pa.table({"embedding": [0.5]}), "'embedding' .* is double, but embeddings are lists of numbers"),
        (pa.table({"embedding": [[True]]}), "row 0 has the value True, but embeddings are numbers"),
        (pa.table({"embedding": pa.array([], pa.list_(pa.float32()))}), "0 rows"),
        (pa.table({"embedding": pa.array([None], pa.list_(pa.float32()))}), "holds no vector.*row 0 is null"),
    ],
)
def test_a_table_that_is_no_corpus_is_refused(tmp_path: Path, data: pa.Table, says: str) -> None:
    # Given a parquet file with no usable vectors, When it is read, Then the error names what is there
    with pytest.raises(CorpusError, match=says):
        vectors_in(open_corpus(parquet(tmp_path / "a.parquet", data)))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "0 rows"),
        ([{"x": 1}], "no column named"),
        ([{"emb": [1.0], "vector": [1.0]}], "2 columns of vectors, 'emb', 'vector'"),
        ([{"emb": [1.0, "x"]}], "row 0 has the value 'x', but embeddings are numbers"),
        ([{"emb": [True]}], "row 0 has the value True"),
        ([{"emb": "!!"}], "row 0 is the text '!!': neither a list of numbers nor base64"),
        ([{"emb": "AAA="}], "row 0 is the text 'AAA=': neither"),
        ([5, "x"], "row 0 .*is 5, not an object; each line must be an object or a list"),
    ],
)
def test_json_lines_that_are_no_corpus_are_refused(tmp_path: Path, rows: list[Any], says: str) -> None:
    # Given lines with no usable vectors, When they are read, Then the error names the row and what is there
    with pytest.raises(CorpusError, match=says):
        vectors_in(open_corpus(jsonl(tmp_path / "a.jsonl", rows)))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.npy", "does not exist"),
        ("none.parquet", "does not exist"),
        ("a.txt", "suffix '.txt'"),
        ("d.npy", "a folder with no files"),
    ],
)
def test_a_path_that_is_no_corpus_is_refused(tmp_path: Path, name: str, says: str) -> None:
    # Given a path to nothing usable, When it is opened, Then the error says what it is
    (tmp_path / "d.npy").mkdir()
    (tmp_path / "a.txt").write_text("a line of text, with a comma")
    with pytest.raises(CorpusError, match=says):
        open_corpus(tmp_path / name)
