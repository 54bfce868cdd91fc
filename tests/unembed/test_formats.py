"""What goes in: files of every format, told by their contents, compressed or not."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unembed.written import (
    DIM,
    FORMATS,
    FVECS,
    IDS,
    RECORDS,
    ROWS,
    VECTORS,
    WITHOUT_IDS,
    Write,
    arrow_stream,
    document,
    feather,
    ids_in,
    lines,
    npz,
    parquet,
    raw,
    sheet,
    vectors_in,
)
from unembed.corpus import formats, open_corpus
from unembed.corpus.json_stream import JsonStream
from unembed.errors import CorpusError


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
    ("a.bin", lambda path: path.write_bytes(b"\x8f\x03\xc1" + bytes(200)), "suffix '.bin'"),
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


def test_every_format_has_a_suffix_of_its_own() -> None:
    suffixes = [suffix for each in formats.SUFFIXES.values() for suffix in each]
    assert len(suffixes) == len(set(suffixes))
