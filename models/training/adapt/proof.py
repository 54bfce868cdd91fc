"""Whether an adapted decoder works at all: its texts have to be nearer to their own references than to others'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unembed.errors import InputError
from unembed.models.decoder.base import TextDecoder
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.analysis import Interval, interval_of_mean
from unembed.models.evaluation.measure import measure
from unembed.models.evaluation.scores import Scores
from unembed.schemas import DecodeOptions
from unembed.word_f1 import word_f1


@dataclass(frozen=True)
class Proof:
    """Of held-out rows, decoded by default."""

    scores: Scores
    word_f1: Interval
    shuffled: float  # word F1 with embeddings of other texts
    gain: Interval  # word F1 beyond that, row by row

    def check(self, pairs: int) -> None:
        """Raises InputError, with the numbers, where embeddings of other texts would do as well."""
        if self.gain.low <= 0.0:
            raise InputError(
                f"adapting to {pairs:,} pairs does not work: on {self.scores.rows} held-out texts the word F1 is "
                f"{self.word_f1.value:.3f}, and {self.shuffled:.3f} with the embeddings of other texts (the difference "
                f"is {self.gain.value:.3f}, between {self.gain.low:.3f} and {self.gain.high:.3f}); expected each "
                "text's own embedding beside it, and texts like those that the decoder was trained on"
            )


def prove(decoder: TextDecoder, texts: Sequence[str], embeddings: Vectors, seed: int) -> Proof:
    """On held-out texts (N,) and their embeddings (N, D)."""
    measured = measure(decoder, texts, embeddings, None, DecodeOptions(), seed)
    decoded = [one.text or "" for one in measured.generations]
    own = np.array([word_f1(ours, text) for ours, text in zip(decoded, texts, strict=True)])
    # Other rows' decodings are what their embeddings would have given here.
    others = np.array([word_f1(ours, text) for ours, text in zip(np.roll(decoded, 1).tolist(), texts, strict=True)])
    return Proof(measured.scores, interval_of_mean(own), float(others.mean()), interval_of_mean(own - others))
