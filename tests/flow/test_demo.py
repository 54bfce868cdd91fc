"""`unembed demo` from end to end: its own Redis, worker, API and SQLite, for the length of one job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from unembed.schemas import GENERATION_FIELDS


def test_the_demo_decodes_examples_shows_them_and_leaves_a_parquet(tmp_path: Path) -> None:
    # Given a machine on which nothing of Unembed runs
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNEMBED_")}
    environment |= {"UNEMBED_HOME": str(tmp_path / "home"), "UNEMBED_DEVICE": "cpu"}
    command = [
        Path(sys.executable).with_name("unembed"),
        "demo",
        "--rows",
        "8",
        "--out",
        tmp_path / "new" / "demo.parquet",
    ]

    # When the demo runs, its output going to a pipe
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )

    # Then it shows references and costs within 100 columns, and every row is in the file
    assert done.returncode == 0, done.stderr
    assert "decoded from its embedding alone" in done.stdout
    assert "8 rows written to" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 100
    table = pq.read_table(tmp_path / "new" / "demo.parquet")
    assert tuple(table.column_names) == GENERATION_FIELDS
    assert table["index"].to_pylist() == list(range(8))
    assert table["id"].to_pylist() == [f"s{number:03d}" for number in range(1, 9)]
    assert set(table["status"].to_pylist()) == {"ok"}
