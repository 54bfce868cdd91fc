"""What one run of the benchmarks is asked for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.checkout import ROOT
from unembed.corpus import open_corpus

BEFORE: Final = "c0529ca"  # the last commit that decoded with torch alone
EXAMPLES: Final = ROOT / "examples" / "sentences.parquet"


@dataclass(frozen=True)
class Asked:
    """`rows` is what the fastest decode in a round; slower work gets a part of them."""

    rows: int
    path_rows: int  # for the whole path
    rounds: int
    micro_batches: tuple[int, ...]
    candidates: tuple[int, ...]
    ageing: tuple[int, int]  # batches after which memory is compared
    echo_rows: int  # of a batch, where the decoder answers at once
    echo_batches: int
    result_rows: int
    folder: Path  # for files of this run

    @classmethod
    def full(cls, folder: Path) -> Asked:
        return cls(1024, 8_192, 5, (64, 256, 1024), (8, 32), (50, 1000), 1024, 60, 200_000, folder)

    @classmethod
    def short(cls, folder: Path) -> Asked:
        """For the tests: all of the work, and none of the meaning."""
        return cls(32, 128, 1, (16, 32), (2,), (2, 4), 16, 4, 500, folder)

    @property
    def vectors(self) -> Path:
        """The embeddings of the example sentences, (600, 384) float32."""
        path = self.folder / "vectors.npy"
        if not path.exists():
            corpus = open_corpus(EXAMPLES)
            whole = next(corpus.batches(corpus.rows)).embeddings
            np.save(path, np.ascontiguousarray(whole, dtype=np.float32))
        return path

    def corpus_of(self, rows: int) -> Path:
        """A .parquet file of so many of them, again and again."""
        path = self.folder / f"corpus-{rows}.parquet"
        if not path.exists():
            vectors = np.load(self.vectors, allow_pickle=False)
            vectors = np.resize(vectors, (rows, vectors.shape[1]))
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
            pq.write_table(pa.table({"embedding": column}), path, row_group_size=1024)
        return path


@contextmanager
def commit_before() -> Iterator[Path | None]:
    """A checkout of it; None where it is not known, as in a shallow clone."""
    with tempfile.TemporaryDirectory(prefix="unembed-before-") as folder:
        known = _git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), folder) and _git(
            "-C", folder, "checkout", "--quiet", BEFORE
        )
        yield Path(folder) if known else None


def _git(*arguments: str) -> bool:
    """Whether it did it."""
    return subprocess.run(["git", *arguments], capture_output=True, check=False).returncode == 0


def say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)
