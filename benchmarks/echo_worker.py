"""A worker whose decoder answers at once: what is left is the path around it.

python -m benchmarks.echo_worker NAME

A job's seed is how many microseconds it takes over a row. With ECHO_ORDER=sent it answers each message with the batch
that it was sent for, and not with the one whose turn it is.

A worker's child is spawned and runs this module again under another name: so the patch is made on import, in both.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unembed.generations import Decoded, Places, from_columns
from unembed.schemas import DecodeOptions, RowStatus

DIM: Final = 384
ORDER: Final = "ECHO_ORDER"
SENTENCES: Final = Path(__file__).resolve().parents[1] / "examples" / "sentences.txt"
TEXTS: Final = pa.array(SENTENCES.read_text(encoding="utf-8").splitlines())


class Echo:
    """Satisfies `unembed.worker.runtime.Decoder`."""

    device = "cpu"
    precision = "float32"
    engine = "echo"
    embedding_dim = DIM

    def decode_rows(
        self, embeddings: npt.NDArray[np.float32], indices: Places, options: DecodeOptions, seed: int
    ) -> Decoded:
        time.sleep(seed * len(indices) / 1e6)
        return Decoded(echoed(np.asarray(indices)), 0.0, 0.0)

    def peak_memory_bytes(self) -> int | None:
        return None


def echoed(indices: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """The rows of these indices (N,), with a value in every column that a decoded row has."""
    spread = (indices % 97) / 97.0  # (N,)
    return from_columns(
        indices,
        text=TEXTS.take(indices % len(TEXTS)),
        status=RowStatus.OK,
        source="echo",
        tokens=indices % 24,
        overall_quality=spread,
        fluency=spread,
        coherence=spread,
        diversity=spread,
        off_manifold=False,
        decode_ms=spread,
    )


def patch() -> None:
    from unembed.worker import runtime

    if os.environ.get(ORDER) == "sent":
        from unembed.models.store.queue import Queue

        setattr(Queue, "first_in_turn", lambda _: None)  # noqa: B010  # then the batch that a message names is tried

    runtime.prepare = lambda device, precision, threads: None
    runtime.load_decoder = lambda name, settings: Echo()


if __name__ in ("__main__", "__mp_main__"):
    patch()

if __name__ == "__main__":
    from unembed.worker.main import run

    sys.exit(run(*sys.argv[1:2]))
