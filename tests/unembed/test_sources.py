"""What goes in: files of every format, under any name, alone and together, from a pipe, compressed and from afar."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import pickle
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from unembed.corpus import Corpus, ReferenceReader, as_corpus, formats, open_corpus, open_reference, spool
from unembed.corpus.json_stream import JsonStream
from unembed.corpus.names import job_name, shown
from unembed.errors import CorpusError, MissingExtraError
from unembed.roots import Roots

ROWS, DIM = 12, 8
VECTORS = (np.arange(ROWS * DIM, dtype=np.float32).reshape(ROWS, DIM) - 20) / 8
IDS = [f"doc-{row}" for row in range(ROWS)]
RECORDS = [{"id": id_, "embedding": row} for id_, row in zip(IDS, VECTORS.tolist(), strict=True)]

Write = Callable[[Path], object]


def table(rows: slice = slice(None), **more: Any) -> pa.Table:
    return pa.table({"id": IDS[rows], "embedding": VECTORS[rows].tolist(), **more}).cast(
        pa.schema([("id", pa.string()), ("embedding", pa.list_(pa.float32())), *((name, pa.int64()) for name in more)])
    )


def parquet(path: Path, rows: slice = slice(None)) -> None:
    with path.open("wb") as file:
        pq.write_table(table(rows), file)


def arrow_stream(path: Path, rows: slice = slice(None)) -> None:
    with path.open("wb") as file, pa.ipc.new_stream(file, table().schema) as writer:
        writer.write_table(table(rows))


def feather(path: Path) -> None:
    with path.open("wb") as file, pa.ipc.new_file(file, table().schema) as writer:
        writer.write_table(table())


def lines(path: Path, rows: slice = slice(None)) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[rows]))


def document(value: object, indent: int | None = None) -> Write:
    return lambda path: path.write_text(json.dumps(value, indent=indent))


def sheet(header: list[str] | None, rows: list[list[Any]], **dialect: Any) -> Write:
    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            csv.writer(file, **dialect).writerows([header, *rows] if header else rows)

    return write


def raw(*parts: np.ndarray) -> Write:
    return lambda path: path.write_bytes(b"".join(part.tobytes() for part in parts))


def npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, embedding=VECTORS, id=np.array(IDS))


def safetensors(path: Path, kind: str = "F32") -> None:
    values = VECTORS if kind == "F32" else (VECTORS.view(np.uint32) >> 16).astype(np.uint16)
    header = {
        "__metadata__": {"a": "b"},
        "emb": {"dtype": kind, "shape": [ROWS, DIM], "data_offsets": [0, values.nbytes]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + values.tobytes())


def npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, VECTORS)


WIDE = [[id_, *row] for id_, row in zip(IDS, VECTORS.tolist(), strict=True)]
LONG = [[at, id_, json.dumps(row), 'a "q",\nand b'] for at, (id_, *row) in enumerate(WIDE)]
FVECS = np.concatenate([np.full((ROWS, 1), DIM, "<i4").view("<f4"), VECTORS], axis=1)

FORMATS: list[tuple[str, Write]] = [
    *[(f"a{suffix}", parquet) for suffix in (".parquet", ".pq", ".PARQ", ".Parquet")],
    *[(f"a{suffix}", feather) for suffix in (".feather", ".ipc", ".ARROW")],
    *[(f"s{suffix}", arrow_stream) for suffix in (".arrows", ".arrow")],
    *[(f"a{suffix}", lines) for suffix in (".jsonl", ".ndjson", ".JSONLINES", ".json")],
    ("rows.json", document(RECORDS)),
    ("indented.json", document(RECORDS, indent=2)),
    ("rows.jsonl", document(RECORDS, indent=0)),
    ("line.jsonl", document(RECORDS)),
    ("data.json", document({"object": "list", "data": RECORDS, "usage": {"tokens": [1, 2]}})),
    ("hits.json", document({"took": 1, "hits": {"total": {"value": 12}, "hits": RECORDS}})),
    ("columns.json", document({"ids": IDS, "embeddings": VECTORS.tolist(), "metadatas": [{"a": 1}] * ROWS})),
    ("wide.csv", sheet(["id", *(f"dim_{at}" for at in range(DIM))], WIDE)),
    ("numbers.csv", sheet(["id", *map(str, range(DIM))], WIDE, delimiter=";")),
    ("wide.tsv", sheet(["id", *map(str, range(DIM))], WIDE, delimiter="\t")),
    ("text.csv", sheet(["", "id", "embedding", "text"], LONG)),
    ("a.npz", npz),
]  # fmt: skip
WITHOUT_IDS: list[tuple[str, Write]] = [
    ("a.NPY", npy),
    ("vectors.json", document(VECTORS.tolist())),
    ("nested.json", document({"embeddings": {"float": VECTORS.tolist()}, "texts": ["a"] * ROWS})),
    ("bare.csv", sheet(None, VECTORS.tolist())),
    ("a.fvecs", raw(FVECS)),
    ("a.fbin", raw(np.array([ROWS, DIM], "<u4"), VECTORS)),
    ("a.safetensors", safetensors),
    ("half.safetensors", lambda path: safetensors(path, "BF16")),
]


def ids_in(corpus: Corpus, size: int = 5) -> list[str | None]:
    return [id_ for batch in corpus.batches(size) for id_ in batch.ids or ()]


def vectors_in(corpus: Corpus, size: int = 5) -> np.ndarray:
    return np.concatenate([batch.embeddings for batch in corpus.batches(size)])


@pytest.mark.parametrize(("name", "write"), FORMATS, ids=[name for name, _ in FORMATS])
def test_every_format_is_read_under_each_of_its_names(tmp_path: Path, name: str, write: Write) -> None:
    # Given the same rows in a file of each format
    write(tmp_path / name)
    # When it is opened, Then it is those rows, and their ids
    corpus = open_corpus(tmp_path / name)
    assert (corpus.rows, corpus.dim, corpus.what) == (ROWS, DIM, str(tmp_path / name))
    np.testing.assert_array_equal(vectors_in(corpus), VECTORS)
    assert ids_in(corpus) == IDS


@pytest.mark.parametrize(("name", "write"), WITHOUT_IDS, ids=[name for name, _ in WITHOUT_IDS])
def test_arrays_of_every_format_are_read(tmp_path: Path, name: str, write: Write) -> None:
    write(tmp_path / name)
    corpus = open_corpus(tmp_path / name)
    np.testing.assert_array_equal(vectors_in(corpus), VECTORS)
    assert ids_in(corpus) == []


def test_bytes_and_signed_bytes_are_vectors_with_a_stated_meaning(tmp_path: Path) -> None:
    # Given vectors of single bytes in two formats
    numbers = np.arange(ROWS * DIM).reshape(ROWS, DIM)
    raw(np.array([ROWS, DIM], "<u4"), numbers.astype("i1"))(tmp_path / "a.i8bin")
    rows = np.zeros(ROWS, np.dtype([("dim", "<i4"), ("values", "u1", (DIM,))]))
    rows["dim"], rows["values"] = DIM, numbers + 128
    raw(rows)(tmp_path / "a.bvecs")
    # When they are opened, Then signed ones are numbers, and of unsigned ones the meaning has to be said
    np.testing.assert_array_equal(vectors_in(open_corpus(tmp_path / "a.i8bin")), numbers)
    with pytest.raises(CorpusError, match="--cells"):
        open_corpus(tmp_path / "a.bvecs")
    np.testing.assert_array_equal(vectors_in(open_corpus(tmp_path / "a.bvecs", cells="uint8")), numbers)


@pytest.mark.parametrize("count", [640, 0x8B1F, 0x88B1F, 1152])
def test_numbers_that_look_like_the_beginning_of_another_format_are_numbers(tmp_path: Path, count: int) -> None:
    # Given files whose first bytes, a count, are those of a pickle or of gzip
    raw(np.array([count, 1], "<u4"), np.ones(count, "i1"))(tmp_path / "a.i8bin")
    raw(np.array([count], "<i4"), np.ones(count, "<f4"))(tmp_path / "a.fvecs")
    header = json.dumps({"emb": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}}).ljust(count).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    # When they are opened, Then they are what they are called
    assert open_corpus(tmp_path / "a.i8bin").rows == count
    assert open_corpus(tmp_path / "a.fvecs").dim == count
    if count != 0x88B1F:  # the one length of a header, in millions, that gzip has taken
        assert open_corpus(tmp_path / "a.safetensors").dim == 2


PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    (".gz", gzip.compress),
    (".GZ", gzip.compress),
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
    (".zst", lambda data: pa.compress(data, "zstd", asbytes=True)),
]


@pytest.mark.parametrize(("suffix", "pack"), PACKED, ids=[suffix for suffix, _ in PACKED])
@pytest.mark.parametrize("name", ["a.jsonl", "wide.csv", "a.pq"])
def test_a_compressed_file_is_what_is_in_it(
    tmp_path: Path, name: str, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    # Given a file, and the same one compressed
    dict(FORMATS)[name if name != "a.pq" else "a.parquet"](tmp_path / name)
    packed = tmp_path / f"{name}{suffix}"
    packed.write_bytes(pack((tmp_path / name).read_bytes()))
    # When both are opened, Then they are the same corpus, under a name of its own
    corpus = open_corpus(packed)
    assert ids_in(corpus) == IDS
    assert corpus.what == str(packed)
    assert corpus.fingerprint == open_corpus(tmp_path / name).fingerprint
    # And what is cut short is told
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(CorpusError, match=r"cannot be unpacked \(\w+\); it may be damaged or cut short"):
        open_corpus(packed)


@pytest.mark.parametrize("name", ["corpus", "corpus.bin", "wrong.parquet", "wrong.npy", ".hidden"])
@pytest.mark.parametrize("write", [parquet, arrow_stream, feather, lines, npz, document({"data": RECORDS})])
def test_a_file_is_told_by_its_contents(tmp_path: Path, name: str, write: Write) -> None:
    # Given files without a suffix, or with that of another format, When they are opened, Then they are what they are
    write(tmp_path / name)
    assert ids_in(open_corpus(tmp_path / name)) == IDS


def test_a_format_that_is_named_goes_before_contents_and_suffix(tmp_path: Path) -> None:
    # Given tabs in a .txt, which is no format of vectors
    sheet(["id", "embedding"], [[row["id"], row["embedding"]] for row in RECORDS], delimiter="\t")(tmp_path / "a.txt")
    with pytest.raises(CorpusError, match=r"suffix '\.txt'.*--input-format"):
        open_corpus(tmp_path / "a.txt")
    assert ids_in(open_corpus(tmp_path / "a.txt", input_format="tsv")) == IDS
    with pytest.raises(CorpusError, match="input format is 'excel', but expected one of parquet, arrow"):
        open_corpus(tmp_path / "a.txt", input_format="excel")


REFUSED: list[tuple[str, Write, str]] = [
    ("a.parquet", lambda path: path.write_bytes(b""), "is empty: it has 0 bytes"),
    ("a.pkl", lambda path: path.write_bytes(pickle.dumps([1])), "is a pickle, which could run code"),
    ("a.feather", lambda path: path.write_bytes(b"FEA1" + bytes(40)), "Feather file of version 1"),
    ("a.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40)), "HDF5"),
    ("a.db", lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(90)), "sqlite:"),
    ("a.tar", lambda path: path.write_bytes(bytes(257) + b"ustar" + bytes(250)), "tar archive"),
    ("a.bin", lambda path: path.write_bytes(os.urandom(3) + bytes(200)), "suffix '.bin'"),
    ("a.fvecs", lambda path: path.write_bytes(FVECS.tobytes()[:-2]), "is cut short, or not of one dimension"),
    ("a.fvecs", lambda path: path.write_bytes(b"\0\0\0\x80" * 9), "begins with -2147483648"),
    ("a.fbin", raw(np.array([ROWS, DIM], "<u4"), VECTORS[1:]), "but its header promises 392"),
    ("a.json", document({"a": {"b": 1}}), "has 0 rows"),
    ("a.json", document([]), "has 0 rows"),
    ("a.json", lambda path: path.write_text(json.dumps(RECORDS)[:-9]), "is not JSON, or is cut short"),
    ("a.json", lambda path: path.write_text("{\n}\n{\n}"), "after its end"),
    ("a.csv", lambda path: path.write_text(""), "0 bytes"),
    ("a.csv", lambda path: path.write_text("id,embedding\n"), "0 rows"),
    ("a.safetensors", lambda path: path.write_bytes(b"\x09\0\0\0\0\0\0\0{}"), "cut short"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write", "says"), REFUSED)
def test_what_is_no_file_of_vectors_is_refused_in_one_line(tmp_path: Path, name: str, write: Write, says: str) -> None:
    write(tmp_path / name)
    with pytest.raises(CorpusError) as refused:
        open_corpus(tmp_path / name)
    assert says in str(refused.value)
    assert str(tmp_path / name) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_torch_saved_is_never_loaded(tmp_path: Path) -> None:
    # Given an archive as torch.save writes it, and one of something else
    for name, member in (("a.pt", "archive/data.pkl"), ("a.zip", "a.csv")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, pickle.dumps(1))
    # When they are opened, Then the line says what to do
    with pytest.raises(CorpusError, match=r"written by torch\.save: it holds a pickle.*numpy\.save"):
        open_corpus(tmp_path / "a.pt")
    with pytest.raises(CorpusError, match="is a zip archive: unpack it"):
        open_corpus(tmp_path / "a.zip")


def test_a_large_document_is_read_a_window_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a window that is smaller than a row, which ends within numbers, texts and escapes
    monkeypatch.setattr("unembed.corpus.json_stream._WINDOW", 7)
    document({"é": 'x\\"[', "n": 12345678, "rows": RECORDS}, indent=1)(tmp_path / "a.json")
    # When the document is read, Then nothing is lost
    corpus = open_corpus(tmp_path / "a.json")
    np.testing.assert_array_equal(vectors_in(corpus), VECTORS)
    assert ids_in(corpus) == IDS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    values=st.lists(JSON, max_size=6), key=st.text(), window=st.integers(1, 40), indent=st.none() | st.integers(0, 2)
)
def test_a_stream_of_json_is_what_the_whole_document_is(
    values: list[Any], key: str, window: int, indent: int | None
) -> None:
    text = json.dumps({"before": values, key: values}, indent=indent, ensure_ascii=len(key) % 2 == 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unembed.corpus.json_stream._WINDOW", window)
        stream, found = JsonStream(io.StringIO(text)), {}
        for each in stream.keys():  # noqa: SIM118 - not a dictionary
            found[each] = list(stream.items())
        assert stream.peek() == ""
    assert found == {"before": values, key: values}


def test_an_id_that_looks_like_a_number_stays_as_it_is_written(tmp_path: Path) -> None:
    sheet(["id", "embedding"], [["007", VECTORS[0].tolist()], ["", VECTORS[1].tolist()]])(tmp_path / "a.csv")
    assert ids_in(open_corpus(tmp_path / "a.csv")) == ["007", None]


def test_a_row_of_a_sheet_that_is_short_or_no_numbers_costs_no_other(tmp_path: Path) -> None:
    # Given rows with too few cells, and with a word for a number
    (tmp_path / "a.csv").write_text("id,d0,d1\na,1,2\nb,3\nc,x,4\n\nd,5,6,7\n")
    # When they are read, Then only they are no vectors
    expected = np.array([[1, 2], [3, np.nan], [np.nan, 4], [5, 6]], np.float32)
    np.testing.assert_array_equal(vectors_in(open_corpus(tmp_path / "a.csv", "d*")), expected)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_spreadsheets_write_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_text("id;embedding\r\né;[1, 2]\r\n", encoding=encoding)
    assert ids_in(open_corpus(tmp_path / "a.csv")) == ["é"]


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


def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)


def spools(folder: Path) -> list[Path]:
    return [path for path in folder.glob("unembed-*.spool/*") if path.name != "lock"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a pipe into which somebody writes
    temporary(tmp_path, monkeypatch)
    lines(tmp_path / "a.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    writer = threading.Thread(
        target=lambda: (tmp_path / "pipe.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes()), daemon=True
    )
    writer.start()
    # When it is opened, Then it can be read again and again, and is what the file was
    told: list[tuple[str, int, int | None]] = []
    corpus = open_corpus(tmp_path / "pipe.jsonl", progress=lambda *each: told.append(each))
    writer.join(10)
    assert ids_in(corpus) == ids_in(corpus) == IDS
    assert corpus.fingerprint == open_corpus(tmp_path / "a.jsonl").fingerprint
    # And it was said that it is waited for, and how much came
    size = (tmp_path / "a.jsonl").stat().st_size
    assert (told[0][1:], told[-1]) == ((0, None), (str(tmp_path / "pipe.jsonl"), size, None))
    # And nothing stays when it is not used any more
    assert spools(tmp_path)
    del corpus
    assert not spools(tmp_path)


@pytest.mark.parametrize("write", [parquet, feather, lines, document({"data": RECORDS}), npz])
def test_stdin_is_a_corpus_of_any_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    write(tmp_path / "a")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "a").read_bytes())))
    corpus = open_corpus("-")
    assert (corpus.what, ids_in(corpus)) == ("stdin", IDS)


def test_stdin_may_be_compressed_and_its_format_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dict(FORMATS)["wide.csv"](tmp_path / "a")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress((tmp_path / "a").read_bytes()))))
    assert ids_in(open_corpus("-", input_format="csv")) == IDS


def test_stdin_of_a_terminal_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(CorpusError, match="nothing is piped into it"):
        open_corpus("-")
    with pytest.raises(CorpusError, match="named twice"):
        open_corpus(["-", "-"])


def test_a_spool_that_fills_the_disk_says_where_to_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")

    def full(self: spool.Spool) -> None:
        self.path, self.remove = Path("/dev/full"), lambda: None  # type: ignore[assignment]

    monkeypatch.setattr(spool.Spool, "__init__", full)
    with pytest.raises(CorpusError, match=r"stdin is kept in a temporary file, and .* is full: set TMPDIR"):
        spool.spooled("stdin", io.BytesIO(b"x" * 10), lambda *_: None)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks that end with a process")
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given folders of an hour ago: of a process that is gone, and of one that still runs
    for name in ("gone", "runs"):
        folder = tmp_path / f"unembed-{name}.spool"
        folder.mkdir()
        (folder / "lock").touch()
        os.utime(folder, (0, 0))
    import fcntl

    with (tmp_path / "unembed-runs.spool" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # When something is spooled beside them
        temporary(tmp_path, monkeypatch)
        kept = spool.spooled("it", io.BytesIO(b"it"), lambda *_: None)
    # Then the first is gone, and the other is not
    assert [path.name for path in tmp_path.glob("unembed-????.spool")] == ["unembed-runs.spool"]
    assert kept.path.read_bytes() == b"it"


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


def test_every_format_has_a_suffix_of_its_own() -> None:
    suffixes = [suffix for each in formats.SUFFIXES.values() for suffix in each]
    assert len(suffixes) == len(set(suffixes))
