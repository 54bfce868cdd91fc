"""What goes in: from a pipe and from stdin, by way of a temporary file."""

from __future__ import annotations

import gzip
import io
import os
import sys
import threading
from pathlib import Path

import pytest

from tests.unembed.written import (
    FORMATS,
    IDS,
    RECORDS,
    Write,
    document,
    feather,
    ids_in,
    lines,
    npz,
    parquet,
)
from unembed.corpus import open_corpus, spool
from unembed.errors import CorpusError


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
