"""`unembed decode` is killed, and the same command goes on: for real, with a server of its own each time."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.flow.conftest import DECODER, environment
from tests.flow.test_up import UNEMBED, WAIT, linux_only
from tests.models.decoder import toy
from tests.worker.processes import await_, family_of, is_alive
from unembed import runs
from unembed.cli.kept_jobs import job_to_read

ROWS, BATCH = 2000, 40

# The same program on a machine whose disk for results is full.
NOWHERE_TO_WRITE = """
from unembed.cli import decode_to_file, main
def write_results(*_, **_options):
    raise OSError(28, "No space left on device", "texts.parquet")
decode_to_file.write_results = write_results
main()
"""


@linux_only
@pytest.mark.timeout(600)
def test_kill_9_at_any_moment_costs_no_row_and_decodes_none_twice(tmp_path: Path, decoders: Path) -> None:
    # Given a corpus, and a home
    np.save(tmp_path / "corpus.npy", toy.vectors(ROWS))
    home = tmp_path / "home"
    command = ["decode", "corpus.npy", "-o", "texts.parquet", "--decoder", DECODER, "--fast"]
    command += ["--batch-size", str(BATCH)]

    def start(said: str, program: list[str] = UNEMBED) -> subprocess.Popen[bytes]:
        with (tmp_path / said).open("wb") as out:
            return subprocess.Popen(
                [*program, *command], cwd=tmp_path, env=environment(decoders) | {"UNEMBED_HOME": str(home)},
                stdout=out, stderr=out,
            )  # fmt: skip

    # When the decode is killed twice while it decodes
    first = _killed(start("said-1"), home, done=2)
    second = _killed(start("said-2"), home, done=len(first) + 2)
    # And the third time it comes to its end, but cannot write its file
    third = start("said-3", [UNEMBED[0], "-c", NOWHERE_TO_WRITE])
    assert third.wait(WAIT) == 1, (tmp_path / "said-3").read_text()

    # Then each of them went on where the one before was
    for said, before in (("said-2", first), ("said-3", second)):
        lines = (tmp_path / said).read_text()
        assert "going on with job" in lines
        assert f"{len(before) * BATCH:,} of {ROWS:,} rows are decoded" in lines
    # And every batch is done, those that were done before as they were then
    last = _done(home)
    assert len(last) == ROWS // BATCH
    assert first.items() <= second.items() <= last.items()
    # And the line that fetches the texts does so, without a server
    (kept,) = runs.all_kept(home)
    assert f"unembed results {kept.note.job_id} -o ELSEWHERE" in (tmp_path / "said-3").read_text()
    with job_to_read(str(kept.note.job_id), None, home) as job:
        rows = pa.Table.from_batches(job.result_batches("index"))
    assert rows["index"].to_pylist() == list(range(ROWS))
    assert rows["text"].null_count == 0


def _killed(process: subprocess.Popen[bytes], home: Path, done: int) -> dict[str, tuple[int, str]]:
    """The batches that are done when the process is killed, which is when it is `done` of them or soon after."""
    await_(lambda: len(_done(home)) >= done or process.poll() is not None, WAIT)
    assert process.poll() is None, "it ended before it could be killed"
    family = family_of(process.pid)
    process.kill()
    process.wait()
    await_(lambda: not any(map(is_alive, family)))
    return _done(home)


def _done(home: Path) -> dict[str, tuple[int, str]]:
    """Which attempt finished a batch, and when."""
    for file in home.glob(f"{runs.RUNS}/*/{runs.DATABASE_FILE}"):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            try:
                found = connection.execute("SELECT id, attempt, finished_at FROM batches WHERE state = 'done'")
                return {name: (attempt, finished) for name, attempt, finished in found}
            except sqlite3.OperationalError:  # no tables yet
                return {}
    return {}
