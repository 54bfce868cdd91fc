"""Corpora by reference: cut by the footer, read a batch at a time, and known when they have changed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry, known_implementations

from tests.builders import DIM
from unembed.codes import FailureCode
from unembed.corpus import ReferencedCorpus, ReferenceReader, Slice, open_reference
from unembed.corpus.storage import FileChangedError, FileMissingError
from unembed.errors import CorpusError, MissingExtraError, RootsError, StorageUnavailableError
from unembed.references import BatchReference
from unembed.roots import Roots

ROWS, GROUP = 25, 10

Write = Callable[[Path, pa.Table], None]


def vectors(rows: int = ROWS, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(rows, dim)).astype(np.float32)


def table(array: np.ndarray, ids: bool = True) -> pa.Table:
    columns = {"embedding": pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])}
    if ids:
        columns["id"] = pa.array([f"row-{index}" for index in range(len(array))])
    return pa.table(columns)


def write_parquet(path: Path, rows: pa.Table) -> None:
    pq.write_table(rows, path, row_group_size=GROUP)


def write_arrow(path: Path, rows: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=GROUP)


def read_all(corpus: ReferencedCorpus, reader: ReferenceReader, batch_size: int) -> list[Slice]:
    parts = []
    for request in corpus.requests(batch_size):
        for batch in request.batches:
            part = reader.read(request.reference_of(batch), batch.rows, corpus.dim)
            parts.append(Slice(batch.first_index, part.embeddings, part.ids))
    return parts


def first_of(corpus: ReferencedCorpus, batch_size: int = 4) -> BatchReference:
    request = next(corpus.requests(batch_size))
    return request.reference_of(request.batches[0])


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[ReferenceReader]:
    reader = ReferenceReader(Roots.of([str(tmp_path)]))
    yield reader
    reader.close()


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    write_parquet(tmp_path / "corpus.parquet", table(vectors()))
    return tmp_path / "corpus.parquet"


@pytest.mark.parametrize("batch_size", [1, 3, GROUP, 4096])
@pytest.mark.parametrize(
    ("name", "write"),
    [("c.parquet", write_parquet), ("c.arrow", write_arrow), ("c.feather", write_arrow), ("c.npy", None)],
)
def test_the_batches_are_the_corpus_and_never_cross_a_group(
    tmp_path: Path, reader: ReferenceReader, name: str, write: Write | None, batch_size: int
) -> None:
    # Given a file of three groups, or an array
    array = vectors()
    if write is None:
        np.save(tmp_path / name, array)
    else:
        write(tmp_path / name, table(array))
    # When its footer is cut into batches, and each is read
    corpus = open_reference(tmp_path / name)
    parts = read_all(corpus, reader, batch_size)
    # Then they are the rows of the file in order, with their ids
    assert (corpus.rows, corpus.dim) == (ROWS, DIM)
    assert [part.first_index for part in parts] == list(np.cumsum([0, *map(len, parts)])[:-1])
    np.testing.assert_array_equal(np.concatenate([part.embeddings for part in parts]), array)
    if write is not None:
        assert [id_ for part in parts for id_ in part.ids or ()] == [f"row-{index}" for index in range(ROWS)]
        assert {part.first_index // GROUP for part in parts} == {0, 1, 2}
        assert all((part.first_index + len(part) - 1) // GROUP == part.first_index // GROUP for part in parts)


def test_batches_in_any_order_are_read_alike(parquet: Path, reader: ReferenceReader) -> None:
    # Given the batches of a file
    corpus = open_reference(parquet)
    request = next(corpus.requests(3))
    # When they are read backwards, some twice
    for batch in [*reversed(request.batches), request.batches[1], request.batches[1]]:
        part = reader.read(request.reference_of(batch), batch.rows, DIM)
        # Then each is what it is
        np.testing.assert_array_equal(part.embeddings, vectors()[batch.first_index : batch.first_index + batch.rows])


def test_a_file_is_cut_without_its_vectors_being_read(parquet: Path) -> None:
    # Given a file of which only the footer is left whole
    data = bytearray(parquet.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little") + 8
    data[4:-footer] = bytes(len(data) - footer - 4)
    parquet.write_bytes(data)
    # When it is cut, Then nothing is missed
    assert open_reference(parquet).rows == ROWS


def test_of_a_row_group_no_more_is_read_than_the_batches_need(
    tmp_path: Path, reader: ReferenceReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a file of 8 MB in one row group, and whoever counts what is read of it
    read: list[int] = []

    class Counted(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            data = super().read(size) or b""
            read.append(len(data))
            return data

    array = vectors(20_000, 100)
    pq.write_table(table(array, ids=False), tmp_path / "c.parquet", compression="none", use_dictionary=False)
    corpus = open_reference(tmp_path / "c.parquet")
    (request,) = corpus.requests(50)
    monkeypatch.setattr(os, "fdopen", Counted)
    # When its first two batches are read
    for batch in request.batches[:2]:
        reader.read(request.reference_of(batch), batch.rows, 100)
    # Then the second is found where the first ended, and most of the file is left alone
    assert 0 < sum(read) < array.nbytes / 2


def test_lists_without_a_fixed_length_and_null_vectors_are_read(tmp_path: Path, reader: ReferenceReader) -> None:
    # Given vectors of which some are null, and a batch that has no other
    rows = [*vectors(3).tolist(), None, None, None, [1.0, None, 3.0, 4.0]]
    write_parquet(tmp_path / "c.parquet", pa.table({"embedding": pa.array(rows, type=pa.list_(pa.float32()))}))
    # When it is read in batches of three
    corpus = open_reference(tmp_path / "c.parquet")
    parts = read_all(corpus, reader, 3)
    # Then those are NaN, and so error rows later on
    assert corpus.dim == DIM
    assert [np.isnan(part.embeddings).sum() for part in parts] == [0, 3 * DIM, 1]
    assert {part.dim for part in parts} == {DIM}


def test_the_ids_may_be_numbers_another_column_or_none(tmp_path: Path, reader: ReferenceReader) -> None:
    rows = (
        table(vectors(4), ids=False)
        .append_column("number", pa.array([7, 8, 9, 10]))
        .append_column("id", pa.array(["a", "b", "c", "d"]))
    )
    write_parquet(tmp_path / "c.parquet", rows)
    found = {}
    for id_column in (None, "number", ""):
        (part,) = read_all(open_reference(tmp_path / "c.parquet", id_column=id_column), reader, 9)
        found[id_column] = part.ids
    assert found == {None: ("a", "b", "c", "d"), "number": ("7", "8", "9", "10"), "": None}


def test_a_file_that_changed_is_refused(parquet: Path, reader: ReferenceReader) -> None:
    # Given a file that was read, and is then written again
    reference = first_of(open_reference(parquet))
    reader.read(reference, 4, DIM)
    write_parquet(parquet, table(vectors()[::-1].copy()))
    # When the same batch is read again, Then what it was and what it is are told
    with pytest.raises(FileChangedError, match=r"has changed since it was submitted: it had \d+ bytes") as changed:
        reader.read(reference, 4, DIM)
    assert changed.value.code == FailureCode.FILE_CHANGED
    assert "submit it again" in changed.value.message


def test_a_file_that_was_only_touched_counts_as_changed(parquet: Path, reader: ReferenceReader) -> None:
    reference = first_of(open_reference(parquet))
    os.utime(parquet, ns=(1, 1))
    with pytest.raises(FileChangedError, match=r"now it has .* and mtime:1;"):
        reader.read(reference, 4, DIM)


def test_a_file_that_is_gone_is_missing(parquet: Path, reader: ReferenceReader) -> None:
    reference = first_of(open_reference(parquet))
    reader.read(reference, 4, DIM)
    parquet.unlink()
    with pytest.raises(FileMissingError, match="does not exist, or not on this machine") as missing:
        reader.read(reference, 4, DIM)
    assert missing.value.code == FailureCode.FILE_MISSING


def test_a_reader_without_the_root_reads_nothing(parquet: Path) -> None:
    reference = first_of(open_reference(parquet))
    with pytest.raises(RootsError, match="names no root"):
        ReferenceReader(Roots()).read(reference, 4, DIM)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.npy")
    with pytest.raises(CorpusError, match="is no plain file"):
        open_reference(tmp_path / "c.npy")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.parquet").mkdir()
    with pytest.raises(CorpusError, match="is a folder with no files"):
        open_reference(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.parquet", b"", "cannot be read; it may be damaged or cut short"),
        ("c.parquet", b"PAR1 and nothing more", "cannot be read; it may be damaged or cut short"),
        ("c.arrow", b"\xff" * 64, "is no Arrow file"),
        ("c.npy", b"\x80\x04K\x01.", "is a pickle"),
        ("c.npy", b"not an array at all", "does not start like an .npy file"),
        ("c.jsonl", b"{}", "has the suffix '.jsonl', but a corpus by reference is made of .parquet, .arrow"),
        ("corpus", b"{}", "has the suffix ''"),
    ],
)
def test_what_is_no_corpus_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError) as refused:
        open_reference(tmp_path / name)
    assert says in refused.value.message
    assert str(tmp_path / name) in refused.value.message
    assert "\n" not in refused.value.message


def test_arrays_that_cannot_be_read_by_the_row_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "fortran.npy", np.asfortranarray(vectors()))
    np.save(tmp_path / "deep.npy", np.zeros((4, 2, 3), np.float32))
    np.save(tmp_path / "bytes.npy", np.zeros((4, 4), np.uint8))
    np.save(tmp_path / "empty.npy", np.zeros((0, 4), np.float32))
    (tmp_path / "short.npy").write_bytes((tmp_path / "fortran.npy").read_bytes().replace(b"True", b"False")[:-5])
    for name, says in (
        ("fortran", "in Fortran order"),
        ("deep", "has the shape"),
        ("bytes", "uint8 values"),
        ("empty", "is empty"),
        ("short", "is cut short"),
    ):
        with pytest.raises(CorpusError, match=says):
            open_reference(tmp_path / f"{name}.npy")
    with pytest.raises(CorpusError, match="has no column 'vectors'"):
        open_reference(tmp_path / "deep.npy", column="vectors")


@pytest.mark.parametrize(
    ("changes", "rows", "says"),
    [
        ({"group": 3}, 4, "has 3 groups of rows, numbered from 0, but the batch says group 3"),
        ({"group": None}, 4, "but the batch says group None"),
        ({"start": 8}, 4, "row group 0 of .* has 10 rows, but the batch has rows 8 to 11 of it"),
        ({"column": "vectors"}, 4, "has no column 'vectors'; its columns are 'embedding', 'id'"),
        ({"id_column": "key"}, 4, "has no column 'key' for the ids"),
    ],
)
def test_a_reference_to_what_the_file_has_not_is_refused(
    parquet: Path, reader: ReferenceReader, changes: dict[str, object], rows: int, says: str
) -> None:
    reference = first_of(open_reference(parquet)).model_copy(update=changes)
    with pytest.raises(CorpusError, match=says):
        reader.read(reference, rows, DIM)


def test_an_array_has_no_groups_and_ends_somewhere(tmp_path: Path, reader: ReferenceReader) -> None:
    np.save(tmp_path / "c.npy", vectors())
    reference = first_of(open_reference(tmp_path / "c.npy"))
    with pytest.raises(CorpusError, match="has no row groups, but group 0"):
        reader.read(reference.model_copy(update={"group": 0}), 4, DIM)
    with pytest.raises(CorpusError, match="has 25 rows, but the batch has rows 24 to 27"):
        reader.read(reference.model_copy(update={"start": 24}), 4, DIM)


def test_an_arrow_stream_is_refused_since_it_has_no_middle(tmp_path: Path) -> None:
    rows = table(vectors())
    with pa.OSFile(str(tmp_path / "c.arrow"), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    with pytest.raises(CorpusError, match="is no Arrow file, which can be read from the middle"):
        open_reference(tmp_path / "c.arrow")


def test_the_fingerprint_is_that_of_the_version(parquet: Path) -> None:
    before = open_reference(parquet).fingerprint
    assert open_reference(parquet).fingerprint == before
    os.utime(parquet, ns=(1, 1))
    assert open_reference(parquet).fingerprint != before


class Bucket(MemoryFileSystem):
    """Stands in for s3: the same interface, the files in memory, and an ETag."""

    protocol = ("s3",)
    store: dict[str, object] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    etag = '"one"'

    def info(self, path: str, **more: object) -> dict[str, object]:
        return {**super().info(path, **more), "ETag": self.etag}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("s3://", "memory://")))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setitem(_registry, "s3", Bucket)
    Bucket.store.clear()
    yield Bucket()
    Bucket.store.clear()


@pytest.mark.parametrize("name", ["c.parquet", "c.arrow", "c.npy"])
def test_a_file_in_a_bucket_is_read_through_fsspec(tmp_path: Path, bucket: Bucket, name: str) -> None:
    # Given a file in a bucket
    array, local = vectors(), tmp_path / name
    if name == "c.npy":
        np.save(local, array)
    else:
        (write_parquet if name == "c.parquet" else write_arrow)(local, table(array))
    bucket.pipe_file(f"/corpora/{name}", local.read_bytes())
    # When it is cut, and read
    reader = ReferenceReader(Roots.of(["s3://corpora"]))
    corpus = open_reference(f"s3://corpora/{name}")
    parts = read_all(corpus, reader, 6)
    # Then its rows are there, and it is known by its ETag
    np.testing.assert_array_equal(np.concatenate([part.embeddings for part in parts]), array)
    assert corpus.files[0].file.version == "etag:one"
    # And when it has another one, it is another file
    Bucket.etag = '"two"'
    try:
        with pytest.raises(FileChangedError, match=r"etag:one, now it has .* and etag:two"):
            reader.read(first_of(corpus), 4, DIM)
    finally:
        Bucket.etag = '"one"'


def test_a_bucket_that_cannot_be_reached_is_no_fault_of_the_file(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> dict[str, object]:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(Bucket, "info", fail)
    with pytest.raises(StorageUnavailableError, match=r"s3://corpora/c\.npy cannot be reached: reset by peer"):
        open_reference("s3://corpora/c.npy")


def test_what_is_not_in_the_bucket_is_missing(bucket: Bucket) -> None:
    with pytest.raises(FileMissingError, match=r"s3://corpora/c\.npy does not exist"):
        open_reference("s3://corpora/c.npy")


def test_a_scheme_whose_package_is_not_installed_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(_registry, "s3", raising=False)
    monkeypatch.setitem(known_implementations, "s3", {"class": "no_such_package.S3", "err": "not there"})
    with pytest.raises(MissingExtraError, match=r"s3://corpora/c\.npy needs the package 's3fs'.*unembed\[remote\]"):
        open_reference("s3://corpora/c.npy")


def test_vectors_in_fields_and_in_text_are_read_by_reference(tmp_path: Path, reader: ReferenceReader) -> None:
    # Given vectors as text within a struct, beside a column of a usual name that holds none
    rows = vectors()
    points = [{"id": at, "vector": None if at == 3 else str(row.tolist())} for at, row in enumerate(rows)]
    pq.write_table(pa.table({"values": ["x"] * ROWS, "point": points}), tmp_path / "c.parquet", row_group_size=10)
    # When it is cut into batches, and these are read
    corpus = open_reference(tmp_path / "c.parquet")
    assert (corpus.dim, corpus.files[0].file.column, corpus.files[0].file.id_column) == (
        DIM,
        "point.vector",
        "point.id",
    )
    parts = read_all(corpus, reader, 4)
    # Then they are the vectors, and the one that is none is not finite
    found = np.concatenate([part.embeddings for part in parts])
    expected = rows.copy()
    expected[3] = np.nan
    np.testing.assert_array_equal(found, expected)
    assert [id_ for part in parts for id_ in part.ids or ()] == [str(at) for at in range(ROWS)]
