"""What every decoder answers to, whatever is inside: `decode`, `generate`, `batch_generate`, `decode_rows`.

A decoder says how it answers rows in one method, `answer`; what a library user and a worker call is made of that here.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unembed.errors import InputError
from unembed.generations import Decoded, Places, from_columns
from unembed.models.decoder.config import Defaults
from unembed.models.decoder.manifold import Manifold
from unembed.models.decoder.quality import Quality, told
from unembed.models.decoder.vectors import Embeddings, Vectors, as_array, check
from unembed.schemas import DecodeOptions, RowStatus

Indices = npt.NDArray[np.int64]  # (N,): places in the corpus


@dataclass(frozen=True)
class Candidate:
    """One of a row's possible texts, and what it was ranked by."""

    text: str
    score: float  # the higher the better; what it is depends on the ranking
    source: str  # the decoder that wrote it
    round_trip: float | None = None  # cosine of its embedding and the given one, where that is known


@dataclass(frozen=True)
class Answer:
    """What a decoder says to one row: a text, or why there is none."""

    status: RowStatus
    source: str | None = None
    text: str | None = None
    tokens: int | None = None
    quality: Quality | None = None
    round_trip: float | None = None
    candidates: tuple[Candidate, ...] = ()  # the best first; the first is the answer
    error_code: str | None = None
    error: str | None = None
    off_manifold: bool | None = None  # the vector is unlike any of a text; None: not known

    @property
    def scores(self) -> Quality | None:
        """As the row tells them."""
        return told(self.quality, self.off_manifold) if self.quality else None


class TextDecoder(ABC):
    """A decoder on one device. Not thread-safe: one decoder a thread."""

    score_ms: float = 0.0  # of the last call, spent on ranking and scores
    defaults: Defaults = Defaults()  # of calls that do not name their own; `configure` changes them

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def architecture(self) -> str: ...

    @property
    @abstractmethod
    def embedding_dim(self) -> int: ...

    @property
    @abstractmethod
    def encoder(self) -> str | None:
        """The embedder whose vectors it reads."""

    @property
    def manifold(self) -> Manifold | None:
        """What real vectors look like; None where that is not known."""
        return None

    @property
    @abstractmethod
    def device(self) -> str: ...

    @property
    @abstractmethod
    def precision(self) -> str: ...

    @property
    @abstractmethod
    def trained(self) -> bool: ...

    @property
    @abstractmethod
    def parameters(self) -> int: ...

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
    def answer(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> list[Answer]:
        """One answer a row of vectors (N, D), which are finite and not zero; `indices` (N,) seed what is drawn."""

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
        """The texts of embeddings (N, D), decoded together, in their order; `options` are the fields of DecodeOptions.

        With `n_best` above 1, each row also lists that many of its candidates at most, the best first.
        Raises InputError for NaN, infinity or zero vectors, naming the row, and DimensionError for a wrong D.
        """
        vectors = check(as_array(embeddings), self.embedding_dim, f"the decoder {self.name!r}")
        if n_best < 1:
            raise InputError(f"n_best is {n_best}; expected 1 or more")
        chosen = DecodeOptions.model_validate(self.defaults.options.model_dump() | options)
        begun = time.perf_counter()
        answers = self.answer(vectors, np.arange(len(vectors)), chosen, self.defaults.seed if seed is None else seed)
        seconds = (time.perf_counter() - begun) / max(1, len(vectors))
        return [self._as_dict(one, seconds, n_best) for one in answers]

    def decode_rows(self, embeddings: Vectors, indices: Places, options: DecodeOptions, seed: int) -> Decoded:
        """The rows (N, D) of a job; `indices` (N,) are their places in the corpus. Vectors must be finite, not zero."""
        begun = time.perf_counter()
        answers = self.answer(embeddings, np.asarray(indices, dtype=np.int64), options, seed)
        took_ms = (time.perf_counter() - begun) * 1000.0
        scores = [one.scores for one in answers]
        qualities = {
            field.name: [None if one is None else getattr(one, field.name) for one in scores]
            for field in fields(Quality)
        }
        rows = from_columns(
            indices,
            text=[one.text for one in answers],
            status=[one.status for one in answers],
            error_code=[one.error_code for one in answers],
            error=[one.error for one in answers],
            source=[one.source for one in answers],
            tokens=[one.tokens for one in answers],
            round_trip=[one.round_trip for one in answers],
            off_manifold=[one.off_manifold for one in answers],
            decode_ms=took_ms / max(1, len(answers)),
            **qualities,
        )
        return Decoded(rows, decode_ms=max(0.0, took_ms - self.score_ms), score_ms=self.score_ms)

    def _as_dict(self, one: Answer, seconds: float, n_best: int) -> dict[str, Any]:
        scores = one.scores
        overall = scores.overall_quality if scores else None
        answer: dict[str, Any] = {
            "text": one.text,
            "status": str(one.status),
            "tokens": one.tokens,
            "quality_metrics": asdict(scores) if scores else None,
            "round_trip": one.round_trip,
            "off_manifold": one.off_manifold,
            "generation_time": seconds,
            "memory": self.peak_memory_bytes(),
            "quality_passed": (
                self.trained and not one.off_manifold and overall is not None and overall >= self.defaults.quality_floor
            ),
            "parameters_used": self.parameters,
            "architecture": self.architecture,
            "source": one.source,
            "trained": self.trained,
            "error": one.error,
        }
        if n_best > 1:
            answer["candidates"] = [asdict(candidate) for candidate in one.candidates[:n_best]]
        return answer
