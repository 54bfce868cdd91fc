"""What the workers and the API of these tests run: the program of production, but for the decoder and the faults.

    python -m tests.faults.stand_in NAME        a worker; uvicorn takes `create_app` from here

The decoder imports no torch and does what its embeddings tell it (see `embedding`): how long it takes, and which rows
kill their process or raise. Its text is a function of the row, so that a row found can be checked to the letter. Crash
points are files in the folder $FAULTS: the first process to come past one takes it away and dies there.

A worker's child is spawned and runs this module again under another name: so the patches are made on import, in both.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import Connection, RowMapping

from unembed.generations import Decoded, Places, from_columns
from unembed.schemas import DecodeOptions, RowStatus

DECODER: Final = "stand-in"
DIM: Final = 4

Rows = npt.NDArray[np.float32]  # (N, DIM)


class Kind(IntEnum):
    """What a row does to who decodes it."""

    GOOD = 0
    KILLS = 1  # its process, with -9
    RAISES = 2


def embedding(index: int, seconds: float, kind: Kind = Kind.GOOD) -> list[float]:
    """One row; a micro-batch takes as long as its slowest row says."""
    return [index + 1.0, seconds, float(kind), float(index % 7)]


def text_of(index: int, seed: int, values: npt.NDArray[np.float32]) -> str:
    return f"{index} of {seed}: {values.astype('<f4').tobytes().hex()}"


class StandIn:
    """Satisfies `unembed.worker.runtime.Decoder`."""

    device = "cpu"
    precision = "float32"
    engine = "torch"
    embedding_dim = DIM

    def decode_rows(self, embeddings: Rows, indices: Places, options: DecodeOptions, seed: int) -> Decoded:
        seconds = float(embeddings[:, 1].max())
        time.sleep(seconds)
        kinds = set(embeddings[:, 2].astype(int).tolist())
        if Kind.KILLS in kinds:
            os.kill(os.getpid(), signal.SIGKILL)
        if Kind.RAISES in kinds:
            raise ValueError("a row that no decoder can read")
        texts = [text_of(index, seed, row) for index, row in zip(indices, embeddings, strict=True)]
        return Decoded(from_columns(indices, text=texts, status=RowStatus.OK, source=DECODER), 1000 * seconds, 0.0)

    def peak_memory_bytes(self) -> int | None:
        return None


class Faults:
    """The folder $FAULTS, as a process of the site sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def come_past(self, point: str, batch_id: str) -> None:
        """Dies if this point is a crash point now; the file says whether with its parent (PARENT_TOO)."""
        mine = self.folder / f"{point}.{os.getpid()}"
        try:
            (self.folder / point).rename(mine)  # one process alone succeeds
        except FileNotFoundError:
            return
        self.note("died", batch_id, time.time())
        if mine.read_text() == PARENT_TOO:
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def note(self, *words: object) -> None:
        """A line in the journal of all processes. A short line that is appended is never torn."""
        with (self.folder / "journal").open("ab", buffering=0) as journal:
            journal.write((" ".join(map(str, words)) + "\n").encode())


# The crash points.
AFTER_COMMIT: Final = "after-commit"  # of a result, and before its message is acknowledged
WITHIN_FINISH: Final = "within-finish"  # in the transaction, after the rows
BEFORE_PUBLISH: Final = "before-publish"  # of a batch's message, and after its row's commit
POINTS: Final = (AFTER_COMMIT, WITHIN_FINISH, BEFORE_PUBLISH)

PARENT_TOO: Final = "parent too"


def patch(faults: Faults) -> None:
    """Makes this process one of the site's."""
    from unembed.models.store import attempts, jobs
    from unembed.models.store.values import Beat
    from unembed.worker import celery, runtime

    finish, write_rows, add_batch = attempts.Attempts.finish, attempts.write_rows, jobs.Jobs.add_batch
    heartbeat = attempts.Attempts.heartbeat

    def noted_finish(self: attempts.Attempts, batch_id: str, attempt: int, *args: Any, **more: Any) -> bool:
        finished = finish(self, batch_id, attempt, *args, **more)
        faults.note("finished" if finished else "fenced", batch_id, attempt)
        if finished:
            faults.come_past(AFTER_COMMIT, batch_id)
        return finished

    def noted_heartbeat(self: attempts.Attempts, batch_id: str, attempt: int, *args: Any, **more: Any) -> Beat:
        beat = heartbeat(self, batch_id, attempt, *args, **more)
        if beat is Beat.FENCED:  # told before it asks to commit, where the heart is the faster
            faults.note("fenced", batch_id, attempt)
        return beat

    def written_rows(connection: Connection, batch: RowMapping, rows: pa.RecordBatch) -> None:
        write_rows(connection, batch, rows)
        faults.come_past(WITHIN_FINISH, batch["id"])

    def added_batch(self: jobs.Jobs, *args: Any, **more: Any) -> Any:
        added = add_batch(self, *args, **more)
        faults.come_past(BEFORE_PUBLISH, added[0].id)
        return added

    def prepare(device: str, precision: str, threads: int) -> None:
        (faults.folder / f"child-of-{os.getppid()}").write_text(str(os.getpid()))

    attempts.Attempts.finish = noted_finish  # type: ignore[method-assign]
    attempts.Attempts.heartbeat = noted_heartbeat  # type: ignore[method-assign]
    jobs.Jobs.add_batch = added_batch  # type: ignore[method-assign]
    attempts.write_rows = written_rows
    runtime.prepare = prepare
    runtime.load_decoder = lambda name, settings: StandIn()
    if seconds := os.environ.get("FAULTS_VISIBILITY_TIMEOUT"):
        celery._BROKER["broker_transport_options"] |= {"visibility_timeout": float(seconds)}
        celery._BROKER["broker_transport_options"] |= {"unacked_restore_interval": 0.5}


def create_app() -> Any:
    patch(Faults(Path(os.environ["FAULTS"])))
    from unembed.api.app import create_app

    return create_app()


if __name__ in ("__main__", "__mp_main__"):
    _faults = Faults(Path(os.environ["FAULTS"]))
    patch(_faults)

if __name__ == "__main__":
    from celery.signals import worker_ready

    from unembed.worker.main import run

    worker_ready.connect(lambda **_: (_faults.folder / f"consumes-{os.getpid()}").touch(), weak=False)
    sys.exit(run(*sys.argv[1:2]))
