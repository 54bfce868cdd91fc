"""A decoder whose answers can be foretold, and which fails when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tests.builders import DIM
from unembed.schemas import DecodeOptions, Generation, RowStatus

Before = Callable[[Sequence[int]], None]


class StubDecoder:
    """Satisfies `unembed.worker.runtime.Decoder`. `before` gets the indices of each call, and may raise."""

    device = "stub"
    dtype = "float32"
    score_ms = 0.0

    def __init__(self, before: Before = lambda _: None, *, dim: int = DIM) -> None:
        self.embedding_dim = dim
        self.before = before
        self.calls: list[list[int]] = []

    def decode_rows(
        self, embeddings: npt.NDArray[np.float32], indices: Sequence[int], options: DecodeOptions, seed: int
    ) -> list[Generation]:
        self.calls.append(list(indices))
        self.before(indices)
        assert embeddings.dtype == np.float32
        assert np.isfinite(embeddings).all()
        return [Generation(index=index, text=f"text {index}", status=RowStatus.OK, source="stub") for index in indices]

    def peak_memory_bytes(self) -> int | None:
        return 12345
