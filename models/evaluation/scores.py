"""How good a decoder is on texts that it has not seen: corpus BLEU and chrF (sacrebleu), word F1, exact, round trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from unembed.errors import MissingExtraError
from unembed.generations import rows_of
from unembed.models.decoder.base import TextDecoder
from unembed.schemas import DecodeOptions, Generation
from unembed.word_f1 import word_f1

MICRO_BATCH: Final = 1024
FAITHFUL_F1: Final = 0.5  # from here a decoding counts as faithful


@dataclass(frozen=True)
class Scores:
    """Of one decoder on one set of texts; shares are in [0, 1], BLEU and chrF in [0, 100]."""

    rows: int
    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str
    word_f1: float  # mean over rows of `word_f1`
    exact: float  # share of rows equal to their text, character by character
    round_trip: float | None  # mean cosine of the decoding's embedding and the given one; None without an encoder
    rows_per_second: float


def decode_all(
    decoder: TextDecoder,
    embeddings: npt.NDArray[np.float32],
    options: DecodeOptions,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Generation]:
    """Every row of (N, D), a micro-batch at a time."""
    generations: list[Generation] = []
    for begin in range(0, len(embeddings), MICRO_BATCH):
        part = np.ascontiguousarray(embeddings[begin : begin + MICRO_BATCH], dtype=np.float32)
        generations += rows_of(decoder.decode_rows(part, range(begin, begin + len(part)), options, seed).rows)
        progress(len(generations))
    return generations


def score(
    texts: Sequence[str],
    references: Sequence[str],
    seconds: float,
    round_trips: npt.NDArray[np.float32] | None = None,
) -> Scores:
    """`round_trips` (N,) are cosines. Raises MissingExtraError when sacrebleu is not installed."""
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise MissingExtraError.of("sacrebleu", "train") from None
    bleu, chrf = BLEU(), CHRF()
    bleu_score = bleu.corpus_score(list(texts), [list(references)]).score
    chrf_score = chrf.corpus_score(list(texts), [list(references)]).score
    return Scores(
        rows=len(texts),
        bleu=float(bleu_score),
        bleu_signature=str(bleu.get_signature()),
        chrf=float(chrf_score),
        chrf_signature=str(chrf.get_signature()),
        word_f1=float(np.mean([word_f1(a, b) for a, b in zip(texts, references, strict=True)])),
        exact=float(np.mean([a == b for a, b in zip(texts, references, strict=True)])),
        round_trip=None if round_trips is None else float(round_trips.mean()),
        rows_per_second=len(texts) / seconds,
    )
