"""Decode a set and score it, in one go; the examples come along for people to read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unembed.models.decoder.base import TextDecoder
from unembed.models.encoders.base import Encoder, cosines
from unembed.models.evaluation.scores import Scores, decode_all, score
from unembed.schemas import DecodeOptions, Generation


@dataclass(frozen=True)
class Measured:
    scores: Scores
    generations: list[Generation]
    round_trips: npt.NDArray[np.float32] | None  # (N,) cosines; None without an encoder


def measure(
    decoder: TextDecoder,
    references: Sequence[str],
    embeddings: npt.NDArray[np.float32],
    encoder: Encoder | None,
    options: DecodeOptions | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Measured:
    """References (N,) and their embeddings (N, D)."""
    begun = time.perf_counter()
    generations = decode_all(decoder, embeddings, options or DecodeOptions(), seed, progress)
    seconds = time.perf_counter() - begun
    texts = [generation.text or "" for generation in generations]
    round_trips = cosines(encoder.encode(texts), embeddings.astype(np.float32)) if encoder else None
    return Measured(score(texts, references, seconds, round_trips), generations, round_trips)
