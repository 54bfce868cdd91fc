"""Where results may go, and in which formats."""

from __future__ import annotations

import csv
import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unembed.corpus import Corpus
from unembed.corpus.table import Table
from unembed.errors import InputError, OutputError
from unembed.generations import SCHEMA, from_columns, json_lines
from unembed.results import Destination, Sink, destination_of, write_results
from unembed.results import write as writing
from unembed.results.whole import whole_file
from unembed.schemas import RowStatus

ROWS = from_columns(range(3), text=["a", "b,\tc", None], status=[RowStatus.OK, RowStatus.OK, RowStatus.ERROR])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.PQ", (Sink.FILE, "parquet", None)),
        ("a.feather", (Sink.FILE, "arrow", None)),
        ("a.ndjson.gz", (Sink.FILE, "jsonl", "gzip")),
        ("a.csv.zst", (Sink.FILE, "csv", "zstd")),
        ("a.tsv", (Sink.FILE, "tsv", None)),
        ("texts/", (Sink.FOLDER, "parquet", None)),
        ("texts.jsonl.gz/", (Sink.FOLDER, "jsonl", "gzip")),
        ("there", (Sink.FOLDER, "parquet", None)),
        ("-", (Sink.STREAM, "jsonl", None)),
        ("/dev/null", (Sink.STREAM, "jsonl", None)),
    ],
)
def test_a_name_says_what_is_written_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: tuple[Sink, str, str | None]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    found = destination_of(name)
    assert (found.sink, found.format, found.compression) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["there"]  # to look has left nothing


def test_a_format_that_is_named_goes_before_the_suffix(tmp_path: Path) -> None:
    assert destination_of(tmp_path / "texts", "csv").format == "csv"
    assert destination_of(tmp_path / "texts.parquet", "jsonl").format == "jsonl"
    with pytest.raises(InputError, match="the format is 'xlsx', but results are written as one of parquet, arrow"):
        destination_of(tmp_path / "a", "xlsx")


@pytest.mark.parametrize("name", ["a.parquet.gz", "a.arrow.zst"])
def test_what_is_compressed_within_is_not_compressed_again(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="leave out the second suffix"):
        destination_of(tmp_path / name)


def test_a_name_that_is_too_long_is_known_before_the_work_and_the_longest_one_is_written(tmp_path: Path) -> None:
    # Given the longest name that there can be, beside which no longer one has room
    longest = tmp_path / f"{'y' * 249}.jsonl"
    # When rows are written to it, Then they are there
    assert write_results(longest, [ROWS]) == 3
    assert longest.read_bytes() == json_lines(ROWS)
    # And one character more is refused, in a line that is not too long
    with pytest.raises(InputError, match=r"…y+\.jsonl cannot be written: File name too long") as error:
        destination_of(tmp_path / f"{'y' * 250}.jsonl")
    assert len(str(error.value)) < 200


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_known_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written to: Permission denied"):
        destination_of(tmp_path / "a.csv")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "arrow"])
def test_a_full_disk_is_one_line_with_its_reason_and_number(format: str) -> None:
    # Given a device that is always full, When rows are written to it
    with pytest.raises(
        OutputError, match=r"/dev/full cannot be written: .*No space left on device \(ENOSPC\)"
    ) as error:
        write_results(destination_of("/dev/full", format), [ROWS])
    # Then the error says so, and carries the number
    assert (error.value.errno, error.value.exit_code) == (28, 1)


def test_a_disk_that_fills_up_leaves_neither_half_a_file_nor_less_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an old file, and a disk that has no room for the new one's last bytes
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"old")

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    # When rows are written, Then the old file is there as it was, and nothing beside it
    with pytest.raises(OutputError, match="ENOSPC"):
        write_results(path, [ROWS])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_too_little_room_is_said_before_the_work(tmp_path: Path) -> None:
    to = destination_of(tmp_path / "a.jsonl")
    assert to.lack_of_room(1000) == ""
    assert "may not fit on its disk: 1,000,000,000,000,000 rows take about" in to.lack_of_room(10**15)
    assert destination_of("-").lack_of_room(10**15) == ""


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    # Given a link to a file elsewhere, When it is written to, Then the file is new, and the link is one
    (tmp_path / "there").mkdir()
    link = tmp_path / "a.jsonl"
    link.symlink_to(tmp_path / "there" / "b.jsonl")
    write_results(link, [ROWS])
    assert link.is_symlink()
    assert (tmp_path / "there" / "b.jsonl").read_bytes() == json_lines(ROWS)


@pytest.mark.parametrize("name", ["a.arrow", "a.feather", "a.arrows"])
def test_arrow_gives_the_rows_back_as_they_were(tmp_path: Path, name: str) -> None:
    write_results(tmp_path / name, [ROWS])
    with pa.memory_map(str(tmp_path / name)) as file:
        reader = pa.ipc.open_stream(file) if name.endswith("s") else pa.ipc.open_file(file)
        assert reader.read_all().equals(pa.Table.from_batches([ROWS]))


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
def test_lines_are_compressed_as_the_suffix_says(tmp_path: Path, suffix: str) -> None:
    from unembed.corpus.packed import unpacked
    from unembed.results.destination import COMPRESSIONS

    path = tmp_path / f"a.jsonl{suffix}"
    write_results(path, [ROWS, ROWS])
    with unpacked(path, COMPRESSIONS[suffix], "it") as file:
        assert file.read() == 2 * json_lines(ROWS)


def test_the_same_rows_make_the_same_compressed_file(tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.csv.gz"):
        write_results(tmp_path / name, [ROWS])
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).startswith(b"index,id,text,")


def test_tabs_within_a_text_stay_within_its_cell(tmp_path: Path) -> None:
    write_results(tmp_path / "a.tsv", [ROWS])
    with (tmp_path / "a.tsv").open(encoding="utf-8", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file, delimiter="\t")] == ["a", "b,\tc", ""]


@pytest.mark.parametrize("format", ["jsonl", "csv", "tsv", "arrow", "parquet"])
def test_stdout_has_the_rows_and_nothing_else(capfdbinary: pytest.CaptureFixture[bytes], format: str) -> None:
    # Given stdout, When rows are written to it, Then it has what a file would have, and is still open
    assert write_results(destination_of("-", format), [ROWS]) == 3
    print(end="", flush=True)
    written = capfdbinary.readouterr().out
    match format:
        case "arrow":
            assert pa.ipc.open_stream(written).read_all().num_rows == 3
        case "parquet":
            assert pq.read_table(io.BytesIO(written)).num_rows == 3
        case "jsonl":
            assert written == json_lines(ROWS)
        case _:
            assert written.count(b"\r\n") == 4


def test_a_reader_that_has_had_enough_is_no_failure_to_write(tmp_path: Path) -> None:
    # Given a pipe whose reader leaves, When more is written to it than it holds
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    to = Destination(str(pipe), Sink.STREAM, "jsonl")

    def rows() -> object:
        yield ROWS
        os.close(reader)
        while True:
            yield ROWS

    # Then it is told apart from a disk that is full
    with pytest.raises(BrokenPipeError):
        write_results(to, rows())  # type: ignore[arg-type]


def test_a_column_that_a_format_cannot_hold_is_known_before_the_work() -> None:
    # Given a column of a type that parquet does not have
    odd = pa.schema([("u", pa.dense_union([pa.field("a", pa.int64()), pa.field("b", pa.string())]))])
    table = Table("odd.arrow", odd, 0, lambda _names: iter(()), str)
    corpus = Corpus("odd.arrow", 0, 2, np.dtype(np.float32), lambda: iter(()), str, table=table)
    layout = writing.Layout.beside(corpus, ["u"])
    # When it is to go along, Then the error says so, and other formats take it
    with pytest.raises(InputError, match="cannot be written as parquet, which has no such type"):
        writing.require_writable(destination_of("/dev/null", "parquet"), layout)
    writing.require_writable(destination_of("/dev/null", "jsonl"), layout)


def test_the_schema_of_results_alone_has_no_metadata_of_its_own(tmp_path: Path) -> None:
    write_results(tmp_path / "a.parquet", [ROWS])
    assert pq.read_schema(tmp_path / "a.parquet").equals(SCHEMA, check_metadata=True)


def test_a_program_that_reads_stdout_slowly_gets_all_of_it(tmp_path: Path) -> None:
    # Given a program whose own buffer for stdout is none, and more rows than a pipe holds
    program = (
        "from unembed.generations import from_columns\n"
        "from unembed.results import write_results\n"
        "write_results('-', [from_columns(range(5000), text='t' * 100, status='ok')] * 2)\n"
    )
    command = [sys.executable, "-u", "-c", program]
    # When it writes them, Then they are all there
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    assert done.stdout.count(b"\n") == 10_000
    assert done.stderr == b""


def test_what_a_killed_process_has_left_goes_and_what_another_writes_stays(tmp_path: Path) -> None:
    # Given half a file of a process that was killed, and one that is being written
    dead = tmp_path / ".unembed-1-dead"
    dead.write_bytes(b"half")
    with whole_file(tmp_path / "other.jsonl") as other:
        other.write(b"so far")
        other.flush()
        # When rows are written beside them, Then the first is gone, and the second becomes whole
        write_results(tmp_path / "a.jsonl", [ROWS])
        assert not dead.exists()
    assert (tmp_path / "other.jsonl").read_bytes() == b"so far"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "other.jsonl"]
