"""What every decoder answers to, whatever is inside: `decode`, `generate`, `batch_generate`, `decode_rows`.

A decoder says how it answers rows in one method, `raw_answer`; what a library user and a worker call is made of that.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from unembed.errors import InputError
from unembed.generations import Decoded, Places, flags, floats, with_column
from unembed.models.decoder.candidates import Candidate
from unembed.models.decoder.config import Defaults
from unembed.models.decoder.explanation import Explanation
from unembed.models.decoder.manifold import Manifold
from unembed.models.decoder.quality import Quality
from unembed.models.decoder.vectors import Embeddings, Indices, Vectors, as_array, check
from unembed.schemas import DecodeOptions


@dataclass(frozen=True)
class DecoderDescription:
    """What a decoder is, and on what it runs."""

    name: str
    architecture: str
    embedding_dim: int
    encoder: str | None  # the embedder whose vectors it reads
    device: str
    precision: str
    engine: str  # torch, graph, or the instructions that the native engine uses
    trained: bool  # False: its weights are random
    parameters: int


@dataclass(frozen=True)
class Answered(Decoded):
    """What a decoder says to its rows: their columns, what was measured, and the candidates that a row had."""

    candidates: Callable[[int], tuple[Candidate, ...]]  # of the n-th row, the best first; the first is the answer


SCORES: Final = tuple(field.name for field in fields(Quality))


class TextDecoder(ABC):
    """A decoder on one device. Not thread-safe: one decoder a thread."""

    description: DecoderDescription
    defaults: Defaults = Defaults()  # of calls that do not name their own; `configure` changes them

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def architecture(self) -> str:
        return self.description.architecture

    @property
    def embedding_dim(self) -> int:
        return self.description.embedding_dim

    @property
    def encoder(self) -> str | None:
        return self.description.encoder

    @property
    def device(self) -> str:
        return self.description.device

    @property
    def precision(self) -> str:
        return self.description.precision

    @property
    def engine(self) -> str:
        return self.description.engine

    @property
    def trained(self) -> bool:
        return self.description.trained

    @property
    def parameters(self) -> int:
        return self.description.parameters

    @property
    def manifold(self) -> Manifold | None:
        """What real vectors look like; None where that is not known."""
        return None

    def configure(self, **changes: Any) -> Defaults:
        """Changes the defaults of a live decoder: fields of DecodeOptions, `seed`, `quality_floor`.

        `save_model` saves them with the checkpoint. Jobs bring options of their own, so workers do not ask for them.
        Raises InputError, and changes nothing, for an unknown name or a value out of range.
        """
        self.defaults = self.defaults.changed(changes)
        return self.defaults

    @abstractmethod
    def save_model(self, folder: str | Path) -> Path:
        """Saves the decoder, its defaults included, as a checkpoint's folder."""

    @abstractmethod
    def peak_memory_bytes(self) -> int | None: ...

    @abstractmethod
    def raw_answer(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> Answered:
        """The same, but whatever the vectors are: `answer` sees to those that are off the manifold."""

    def answer(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> Answered:
        """Of vectors (N, D), finite and not zero, at `indices` (N,) of the corpus, which seed what is drawn.

        A vector that is off the manifold is the embedding of no text, so no text can be faithful to it, however sure
        the network is of one: its overall_quality, where it is known, is 0.
        """
        answered = self.raw_answer(vectors, indices, options, seed)
        quality = floats(answered.rows["overall_quality"])  # (N,)
        doubted = flags(answered.rows["off_manifold"]) & ~np.isnan(quality)  # (N,)
        if not doubted.any():
            return answered
        known = pa.array(np.where(doubted, 0.0, quality), mask=np.isnan(quality))
        return replace(answered, rows=with_column(answered.rows, "overall_quality", known))

    def decode(self, embedding: Embeddings, **options: Any) -> str:
        """The text of one embedding (D,). Raises InputError when the decoder has none for it."""
        answer = self.generate(embedding, **options)
        if answer["text"] is None:
            raise InputError(f"{self.name} has no text for this embedding: {answer['error']}")
        return str(answer["text"])

    def generate(self, embedding: Embeddings, **options: Any) -> dict[str, Any]:
        """The text of one embedding (D,) with its scores; options as for `batch_generate`."""
        vector = as_array(embedding)
        if vector.ndim != 1:
            raise InputError(f"expected one embedding of shape ({self.embedding_dim},), got shape {vector.shape}")
        return self.batch_generate(vector[None], **options)[0]

    def batch_generate(
        self, embeddings: Embeddings, *, seed: int | None = None, n_best: int = 1, **options: Any
    ) -> list[dict[str, Any]]:
        """The texts of embeddings (N, D), decoded together, in their order; `options` are those of
        `configure`.

        With `n_best` above 1, each row also lists that many of its candidates at most, the best first. With `scores`
        "none", `quality_metrics` and `quality_passed` are None.
        Raises InputError for NaN, infinity or zero vectors, naming the row, and DimensionError for a wrong D.
        """
        vectors = check(as_array(embeddings), self.embedding_dim, f"the decoder {self.name!r}")
        if n_best < 1:
            raise InputError(f"n_best is {n_best}; expected 1 or more")
        begun = time.perf_counter()
        chosen = self.defaults.changed(options if seed is None else options | {"seed": seed})
        answered = self.answer(vectors, np.arange(len(vectors)), chosen.options, chosen.seed)
        seconds = (time.perf_counter() - begun) / max(1, len(vectors))
        return [
            self._as_dict(row, chosen, seconds)
            | ({"candidates": _shown(answered.candidates(place)[:n_best])} if n_best > 1 else {})
            for place, row in enumerate(answered.rows.to_pylist())
        ]

    def decode_rows(self, embeddings: Vectors, indices: Places, options: DecodeOptions, seed: int) -> Decoded:
        """The rows (N, D) of a job; `indices` (N,) are their places in the corpus. Vectors must be finite, not zero."""
        answered = self.answer(embeddings, np.asarray(indices, dtype=np.int64), options, seed)
        share_ms = (answered.decode_ms + answered.score_ms) / max(1, len(embeddings))
        return Decoded(with_column(answered.rows, "decode_ms", share_ms), answered.decode_ms, answered.score_ms)

    def explain(self, vector: Vectors, index: int, options: DecodeOptions, seed: int) -> Explanation:
        """What else the row (D,) at this index might have become; where it is known, the pieces of its text, too."""
        answered = self.answer(vector[None], np.array([index], dtype=np.int64), options, seed)
        return Explanation(answered.candidates(0))

    def _as_dict(self, row: dict[str, Any], chosen: Defaults, seconds: float) -> dict[str, Any]:
        scores = {name: row[name] for name in SCORES}
        return {
            "text": row["text"],
            "status": row["status"],
            "tokens": row["tokens"],
            "quality_metrics": scores if any(score is not None for score in scores.values()) else None,
            "round_trip": row["round_trip"],
            "off_manifold": row["off_manifold"],
            "generation_time": seconds,
            "memory": self.peak_memory_bytes(),
            "quality_passed": self._passed(row, chosen.quality_floor) if chosen.options.scores == "all" else None,
            "parameters_used": self.parameters,
            "architecture": self.architecture,
            "source": row["source"],
            "trained": self.trained,
            "error": row["error"],
        }

    def _passed(self, row: dict[str, Any], floor: float) -> bool:
        overall = row["overall_quality"]
        return self.trained and not row["off_manifold"] and overall is not None and overall >= floor


def _shown(candidates: tuple[Candidate, ...]) -> list[dict[str, Any]]:
    return [asdict(candidate) for candidate in candidates]
