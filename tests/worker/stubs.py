"""A decoder whose answers can be foretold, and which fails when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tests.builders import DIM
from unembed.generations import Decoded, Places, from_columns
from unembed.schemas import DecodeOptions, RowStatus

Before = Callable[[Sequence[int]], None]


class StubDecoder:
    """Satisfies `unembed.worker.runtime.Decoder`. `before` gets the indices of each call, and may raise."""

    device = "stub"
    precision = "float32"
    engine = "torch"

    def __init__(self, before: Before = lambda _: None, *, dim: int = DIM) -> None:
        self.embedding_dim = dim
        self.before = before
        self.calls: list[list[int]] = []

    def decode_rows(
        self, embeddings: npt.NDArray[np.float32], indices: Places, options: DecodeOptions, seed: int
    ) -> Decoded:
        self.calls.append([int(index) for index in indices])
        self.before(self.calls[-1])
        assert embeddings.dtype == np.float32
        assert np.isfinite(embeddings).all()
        rows = from_columns(indices, text=[f"text {index}" for index in indices], status=RowStatus.OK, source="stub")
        return Decoded(rows, decode_ms=1.0, score_ms=0.5)

    def peak_memory_bytes(self) -> int | None:
        return 12345
