"""What the programs share that decode a whole corpus, each in its own way: from a .parquet file to another.

    python benchmarks/whole_NAME.py CORPUS OUT MARKER ENGINE DATABASE

A program says when its decoder has loaded and been used once, by making the file MARKER, and when the texts are
written, by a line on its standard output; between the two it is timed. It then waits until its input ends, so that what
it started still lives while it is looked at.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self, cast

from unembed.corpus import open_corpus
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.schemas import GREEDY, EngineChoice
from unembed.worker import redis_server

DECODER: Final = "ret-v21-minilm"
BATCH: Final = 1024  # rows


@dataclass(frozen=True)
class WholeRun:
    """What a program was started with."""

    ARGUMENTS: ClassVar = 5

    corpus: Path
    out: Path
    marker: Path
    engine: EngineChoice
    database: str | None  # None: SQLite

    @classmethod
    def from_arguments(cls) -> Self:
        corpus, out, marker, engine, database = sys.argv[1 : cls.ARGUMENTS + 1]
        return cls(Path(corpus), Path(out), Path(marker), cast(EngineChoice, engine), database or None)

    def is_ready(self) -> None:
        self.marker.touch()

    def is_done(self) -> None:
        print("done", flush=True)
        sys.stdin.read()


@contextmanager
def running(*command: str) -> Iterator[None]:
    """A process that is ended with the block, however that ends; what it prints goes to stderr."""
    process = subprocess.Popen(command, stdout=sys.stderr)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def running_redis() -> Iterator[Path]:
    """An embedded Redis, empty; the path of its socket."""
    with (
        tempfile.TemporaryDirectory(prefix="whole-") as folder,
        redis_server.socket_path(Path(folder)) as path,
        running(*redis_server.command(path, Path(folder), 2**30)),
    ):
        while not redis_server.answers(path):
            time.sleep(0.02)
        yield path


def warm(decoder: GenerativeDecoder, corpus: Path) -> None:
    """Some rows, for what is loaded and made at the first call."""
    few = next(open_corpus(corpus).batches(64)).embeddings
    decoder.decode_rows(few, range(len(few)), GREEDY, 0)
