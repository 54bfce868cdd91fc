"""What goes in: several files as one corpus, under any name, and from afar."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.unembed.written import (
    DIM,
    IDS,
    ROWS,
    VECTORS,
    Write,
    arrow_stream,
    feather,
    ids_in,
    lines,
    npy,
    parquet,
    vectors_in,
)
from unembed.corpus import ReferenceReader, as_corpus, open_corpus, open_reference
from unembed.corpus.names import job_name, shown
from unembed.errors import CorpusError, MissingExtraError
from unembed.roots import Roots


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder of twelve shards, a row each, and what else lies in such a folder."""
    folder = tmp_path / "shards"
    (folder / "_temporary").mkdir(parents=True)
    for row in range(ROWS):
        parquet(folder / f"part-{row}.parquet", slice(row, row + 1))
    for name in ("_SUCCESS", ".part-0.parquet.crc", "README.md", "_temporary/part-0.parquet", "dataset_infos.json"):
        (folder / name).write_text("{}")
    return folder


def test_a_folder_a_pattern_and_a_list_are_one_corpus_in_natural_order(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given shards of which part-10 comes before part-2 in the shell's order
    listed = sorted(str(path) for path in shards.glob("*.parquet"))
    assert listed[2].endswith("part-10.parquet")
    monkeypatch.setenv("HOME", str(shards.parent))
    # When they are named in each of these ways, Then their rows are in order, whatever the size of a batch
    for source in (
        shards,
        f"file://{shards}",
        f"{shards}/",
        f"{shards}/*",
        f"{shards}/part-*",
        listed,
        "~/shards",
        f"{shards.parent}/**/p*",
    ):
        corpus = open_corpus(source)
        assert (corpus.rows, ids_in(corpus)) == (ROWS, IDS)
        np.testing.assert_array_equal(vectors_in(corpus), VECTORS)
    # And a list in an order of its own keeps it
    assert ids_in(open_corpus(listed[::-1]))[:2] == ["doc-9", "doc-8"]


def test_what_is_passed_over_is_said_unless_it_is_the_tools_own(shards: Path) -> None:
    # Given notes, and a shard that is only half there, beside the shards
    (shards / "part-12.parquet.part").touch()
    (shards / "more").mkdir()
    # When the folder is read, Then they are named; and those of a pattern are
    assert open_corpus(shards).notes[0] == "passed over: 'README.md', 'part-12.parquet.part'"
    assert "more'" in open_corpus(f"{shards}/*").notes[0]
    assert "passed over" not in str(open_corpus(f"{shards}/*.parquet").notes)
    # And a pattern that leads to folders alone means what is in them
    assert open_corpus(f"{shards.parent}/sh*").rows == ROWS


def test_links_that_lead_in_circles_are_read_once(shards: Path) -> None:
    (shards / "again").symlink_to(shards)
    (shards / "other").mkdir()
    (shards / "other" / "back").symlink_to(shards / "other")
    assert ids_in(open_corpus(shards)) == IDS


def test_one_line_says_what_was_taken(shards: Path) -> None:
    names = [str(shards / f"part-{row}.parquet") for row in (0, 1, 2)]
    assert open_corpus(shards).what == f"{shards} (12 files)"
    assert open_corpus(names).what == f"{names[0]} and 2 more"
    assert open_corpus(names[:1]).what == names[0]


def test_the_fingerprint_of_many_files_follows_contents_and_order(shards: Path) -> None:
    before = open_corpus(shards).fingerprint
    assert open_corpus(f"{shards}/*.parquet").fingerprint == before
    assert open_corpus([shards / "part-1.parquet", shards / "part-0.parquet"]).fingerprint != before
    parquet(shards / "part-3.parquet", slice(4, 5))
    assert open_corpus(shards).fingerprint != before


def test_files_of_several_formats_are_one_corpus_when_they_are_named(tmp_path: Path) -> None:
    # Given rows in three formats, of which an array has no ids
    parquet(tmp_path / "a.parquet", slice(0, 4))
    lines(tmp_path / "b.jsonl", slice(4, 8))
    np.save(tmp_path / "c.npy", VECTORS[8:].astype(np.float64))
    # When they are named, Then they are one corpus, in the widest type, and the ids that are missing are null
    corpus = open_corpus([tmp_path / "a.parquet", tmp_path / "b.jsonl", tmp_path / "c.npy"])
    np.testing.assert_array_equal(vectors_in(corpus), VECTORS)
    assert corpus.dtype == np.float64
    assert ids_in(corpus) == [*IDS[:8], None, None, None, None]
    # And as a folder they are not: who knows which of them are meant
    with pytest.raises(CorpusError, match=r"several formats: 1 jsonl \('b.jsonl'\), 1 npy .*, 1 parquet .*Name those"):
        open_corpus(tmp_path)


def test_columns_may_have_a_type_of_their_own_in_each_file(tmp_path: Path) -> None:
    # Given shards with lists of any and of fixed length, ids that are numbers and text, and an empty shard
    parquet(tmp_path / "1.parquet", slice(0, 2))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS[2:4].reshape(-1)), DIM)
    pq.write_table(pa.table({"embedding": fixed, "id": [2, 3], "more": [None, 1]}), tmp_path / "2.parquet")
    parquet(tmp_path / "3.parquet", slice(0, 0))
    # When they are read together, Then nothing is lost
    corpus = open_corpus(tmp_path)
    np.testing.assert_array_equal(vectors_in(corpus), VECTORS[:4])
    assert ids_in(corpus) == ["doc-0", "doc-1", "2", "3"]


def test_the_widest_type_is_read_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    # Given vectors in half precision, in a fixed list of doubles and as integers, and ids as categories
    kinds = (pa.list_(pa.float16()), pa.list_(pa.float64(), DIM), pa.large_list(pa.float32()), pa.list_(pa.int64()))
    names = [tmp_path / f"{at}.parquet" for at in range(len(kinds))]
    whole = np.round(VECTORS * 8)
    for path, kind in zip(names, kinds, strict=True):
        values = [[int(value) if pa.types.is_integer(kind.value_type) else value for value in row] for row in whole]
        if pa.types.is_float64(kind.value_type):
            values[0][0] = 1e-300
        if pa.types.is_floating(kind.value_type) and kind.value_type != pa.float64():
            values = (VECTORS * 8).tolist()
        ids = pa.array(IDS).dictionary_encode() if kind.value_type == pa.float64() else pa.array(IDS)
        pq.write_table(pa.table({"embedding": pa.array(values, kind), "id": ids}), path)
    # When they are joined in one order and in the other, Then nothing is rounded
    for order in (names, names[::-1]):
        corpus = open_corpus(order)
        assert corpus.dtype == np.float64
        assert 1e-300 in vectors_in(corpus)
        assert ids_in(corpus) == IDS * 4


def test_shards_that_do_not_fit_together_are_refused_with_both_names(tmp_path: Path) -> None:
    np.save(tmp_path / "a1.npy", np.ones((2, 3), np.float32))
    np.save(tmp_path / "a2.npy", np.ones((2, 4), np.float32))
    with pytest.raises(CorpusError, match=r"a2\.npy has vectors of 4 dimensions, but those of .*a1\.npy have 3"):
        open_corpus(tmp_path)
    pq.write_table(pa.table({"embedding": [[1.0]]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(CorpusError, match=r"b\.parquet has no column 'embedding', which .*a\.parquet has.*'text'"):
        open_corpus(tmp_path / "*.parquet")


def test_bad_rows_of_many_files_are_counted_by_their_place_in_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text('{"emb": [1, 2]}\n{"emb": []}\n')
    (tmp_path / "2.jsonl").write_text('{"emb": [3, 4]}\n{"emb": [5]}\n')
    (tmp_path / "3.jsonl").write_text("")
    corpus = open_corpus(tmp_path)
    assert vectors_in(corpus).shape == (4, 2)
    assert str(corpus.bad) == "row 1 is empty; row 3 has 1 value instead of 2"


def test_a_saved_dataset_is_read_in_the_order_of_its_state(tmp_path: Path) -> None:
    # Given a dataset as save_to_disk writes it, with its shards in another order than that of their names
    folder = tmp_path / "saved" / "train"
    folder.mkdir(parents=True)
    arrow_stream(folder / "b.arrow", slice(0, 5))
    arrow_stream(folder / "a.arrow", slice(5, 12))
    arrow_stream(folder / "cache-1.arrow", slice(0, 1))
    (folder / "dataset_info.json").write_text("{}")
    state = {"_data_files": [{"filename": "b.arrow"}, {"filename": "a.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))
    # When it is opened, Then its rows are in order
    assert ids_in(open_corpus(folder)) == IDS
    # And of one with splits, one has to be named
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(CorpusError, match=r"with splits: name one of .*saved/train, .*saved/test"):
        open_corpus(tmp_path / "saved")
    # And one whose rows are chosen by an index is not read as if they were not
    (folder / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "i.arrow"}]}))
    with pytest.raises(CorpusError, match="flatten_indices"):
        open_corpus(folder)


@pytest.mark.parametrize(
    ("make", "named", "says"),
    [
        (None, "nothing", "nothing does not exist"),
        (None, "none-*", "no file matches"),
        ("empty", "empty", "is a folder with no files"),
        ("delta/_delta_log", "delta", "is a Delta table"),
        ("lance/_versions", "lance", "is a Lance table"),
        (None, "/dev/null", "is no file, folder or pipe"),
    ],
)
def test_a_name_that_leads_to_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: str | None, named: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if make is not None:
        (tmp_path / make).mkdir(parents=True)
    with pytest.raises(CorpusError, match=says):
        open_corpus(named)


def test_a_folder_without_vectors_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(CorpusError, match=r"has no file of vectors, only 'notes\.md'"):
        open_corpus(tmp_path)
    with pytest.raises(CorpusError, match="no corpus is named"):
        open_corpus([])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").chmod(0)
    with pytest.raises(CorpusError, match=r"a\.parquet may not be read: Permission denied"):
        open_corpus(tmp_path / "a.parquet")


NAMES = [b"caf\xe9", b"two\nlines", b"\x1b[31mred", "日本語".encode(), b" spaced ", b"[1] *?", b"x" * 200]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("suffix", "write"), [(".npy", npy), (".parquet", parquet), (".arrow", feather), (".jsonl", lines)]
)
def test_a_file_may_be_called_anything(tmp_path: Path, name: bytes, suffix: str, write: Write) -> None:
    # Given a file with odd bytes in its name, or hundreds of them
    path = tmp_path / f"{os.fsdecode(name)}{suffix}"
    write(path)
    # When it is opened, Then it is read, and what is shown of its name is plain text in one line
    corpus = open_corpus(path)
    np.testing.assert_array_equal(vectors_in(corpus), VECTORS)
    assert corpus.what.encode().decode().isprintable()


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        (["dir/corpus.npy"], "corpus.npy"),
        (["-"], "stdin"),
        (["shards/"], "shards"),
        (["data/part-*.parquet"], "part-*.parquet"),
        (["a.npy", "b.npy", "c.npy"], "a.npy and 2 more"),
        (["https://host/a.npy?token=secret"], "a.npy"),
        ([os.fsdecode(b"caf\xe9.npy")], r"caf\xe9.npy"),
        (["a\nb.npy"], r"a\nb.npy"),
        (["/"], "/"),
    ],
)
def test_a_job_is_named_after_its_first_source(sources: list[str], name: str) -> None:
    assert job_name(sources) == name


def test_a_name_that_is_too_long_for_a_job_is_shortened_in_the_middle() -> None:
    # Given names longer than the 200 characters of a job's name, When they name one, Then both ends are kept
    for sources in (
        ["x" * 220 + "-0001.npy"],
        ["x" * 220 + "-0001.npy", "b.npy"],
        [os.fsdecode(b"\xe9" * 120 + b".npy")],
    ):
        name = job_name(sources)
        assert len(name) == 200
        assert ".npy" in name
        assert "…" in name
    assert shown("plain.npy") == "plain.npy"


@pytest.fixture
def bucket() -> Iterator[MemoryFileSystem]:
    """A storage that fsspec reaches, under memory://bucket."""
    storage = MemoryFileSystem()
    yield storage
    storage.rm("/bucket", recursive=True)


def test_a_url_a_folder_and_a_pattern_of_a_storage_are_read(tmp_path: Path, bucket: MemoryFileSystem) -> None:
    # Given shards in a bucket, beside what the tools left there
    for row in (0, 2, 10):
        parquet(tmp_path / "shard", slice(row, row + 1))
        bucket.pipe(f"/bucket/data/part-{row}.parquet", (tmp_path / "shard").read_bytes())
    bucket.pipe("/bucket/data/_SUCCESS", b"")
    bucket.pipe("/bucket/data/_tmp/part-1.parquet", b"half")
    # When a file, the folder and a pattern are named, Then they are read in natural order
    assert ids_in(open_corpus("memory://bucket/data/part-2.parquet")) == ["doc-2"]
    for source in ("memory://bucket/data", "memory://bucket/data/", "memory://bucket/data/part-*.parquet"):
        assert ids_in(open_corpus(source)) == ["doc-0", "doc-2", "doc-10"]
    for source, says in (("memory://bucket/no", "does not exist"), ("memory://bucket/*.npy", "no file matches")):
        with pytest.raises(CorpusError, match=says):
            open_corpus(source)


def test_a_url_that_cannot_be_reached_is_shown_without_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given that the package for it is missing, When it is opened, Then it is named, and the signature is not
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    with pytest.raises(MissingExtraError, match=r"^https://host/a\.npy needs the package 'aiohttp'.*\[remote\]"):
        open_corpus("https://me:secret@host/a.npy?signature=secret")
    with pytest.raises(CorpusError, match="nowhere://a cannot be read"):
        open_corpus("nowhere://a")


def test_python_takes_several_paths(shards: Path) -> None:
    # Given paths of either kind, When they are a corpus, Then it is one; and text that is vectors is none of paths
    corpus = as_corpus([shards / "part-0.parquet", str(shards / "part-1.parquet")])
    assert ids_in(corpus) == IDS[:2]
    np.testing.assert_array_equal(vectors_in(as_corpus([str(row) for row in VECTORS.tolist()])), VECTORS)


def test_several_files_are_read_by_reference(shards: Path) -> None:
    # Given a folder of shards, and one of them in upper case
    (shards / "part-11.parquet").rename(shards / "part-11.PQ")
    corpus = open_reference([f"{shards}/part-?.parquet", str(shards / "part-10.parquet"), str(shards / "part-11.PQ")])
    # When its batches are read by a worker
    reader = ReferenceReader(Roots.of([str(shards)]))
    found, places = list[str | None](), list[tuple[int, int]]()
    for request in corpus.requests(4):
        for batch in request.batches:
            part = reader.read(request.reference_of(batch), batch.rows, corpus.dim)
            found += part.ids or ()
            places.append((batch.ordinal, batch.first_index))
    reader.close()
    # Then they are numbered through, and are the rows in order
    assert found == IDS
    assert places == [(at, at) for at in range(ROWS)]
    # And another order is another corpus
    names = [str(shards / f"part-{row}.parquet") for row in (1, 0)]
    assert open_reference(names).fingerprint != open_reference(names[::-1]).fingerprint
