"""The examples run against a real server; only the decoding is by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
import pytest

from tests.unembed.conftest import Hand, ServeWith

EXAMPLES: Final = Path(__file__).parents[3] / "examples"
ROWS: Final = 7

Sh = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a person tries an example: with a corpus of a few sentences."""
    pq.write_table(pq.read_table(EXAMPLES / "sentences.parquet")[:ROWS], tmp_path / "corpus.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def idle(serve_with: ServeWith, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server that the environment names, without a worker."""
    url = serve_with(max_batch_rows=10_000)
    monkeypatch.setenv("UNEMBED_URL", url)
    return url


@pytest.fixture
def server(idle: str, hand: Hand) -> str:
    """A server that the environment names, with a worker."""
    hand.start()
    return idle


@pytest.fixture
def sh(folder: Path) -> Sh:
    """Runs a command as it is typed; `unembed` and `python` are those of these tests."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in command],
            env=os.environ | {"PATH": path, "UNEMBED_HOME": str(folder / "home")},
            capture_output=True,
            text=True,
            check=False,
        )

    return run
