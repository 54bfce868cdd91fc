"""Learns a hybrid's rule on held-out texts: when its bank's nearest phrase is the better answer.

Both numbers are chosen by what they are for: the mean word F1 of the answers on texts that neither part was made of.
With an encoder, the answers must also be as near to their vectors as those of the nearer part are, on average: the
highest F1 of all may lie where the network answers nearly alone, while the bank alone would have been nearer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.phrase_bank import PhraseBankDecoder
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.scores import decode_all
from unembed.schemas import DecodeOptions
from unembed.word_f1 import word_f1

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """`margin` and `known_from` of HybridConfig, and what they reach on the texts that they were learnt on."""

    margin: float
    known_from: float
    rows: int
    network_f1: float  # of the network alone, with the encoder where there is one
    bank_f1: float  # of the nearest phrase alone
    hybrid_f1: float  # by the rule
    hybrid_cosine: float | None  # of its answers and the vectors, on average; None without an encoder


def learn_rule(
    network: GenerativeDecoder,
    bank: PhraseBankDecoder,
    references: Sequence[str],
    embeddings: Vectors,
    options: DecodeOptions,
    seed: int = 0,
) -> Rule:
    """From texts (N,) and their embeddings (N, D); `options` are those of the jobs that the rule is for.

    The margin is learnt on texts that are embedded again, so it needs the encoder where the network names one; what the
    bank knows is learnt without it.
    """
    phrases = decode_all(bank, embeddings, DecodeOptions(candidates=1))
    cosines = np.array([row.round_trip if row.text is not None else -np.inf for row in phrases])
    phrase_f1 = f1([row.text for row in phrases], references)
    blind = decode_all(network, embeddings, options.model_copy(update={"embed": 0, "round_trip": False}), seed)
    known_from, reached = best_step(cosines, f1([row.text for row in blind], references), phrase_f1)
    network_f1 = f1([row.text for row in blind], references)
    margin, nearness = 0.0, None
    if network.encoder is not None:
        seeing = decode_all(network, embeddings, options.model_copy(update={"round_trip": True}), seed)
        network_f1 = f1([row.text for row in seeing], references)
        own = np.array([row.round_trip for row in seeing])
        known = np.where(np.isfinite(cosines), cosines, 0.0)  # no phrase, no nearness
        margin, reached = best_step(cosines - own, network_f1, phrase_f1, (own, known))
        nearness = float(np.where(cosines - own > margin, known, own).mean())
    return Rule(
        margin, known_from, len(references), float(network_f1.mean()), float(phrase_f1.mean()), reached, nearness
    )


def best_step(
    lead: Floats, below: Floats, above: Floats, kept: tuple[Floats, Floats] | None = None
) -> tuple[float, float]:
    """The threshold t for which taking `above` where lead > t, and `below` elsewhere, has the highest mean; that mean.

    All (N,). `kept` is another measure of both, (N,) each, whose mean must not fall under that of either alone; there
    has to be such a threshold. Of equally good thresholds the one in the middle of its gap; beyond the largest lead
    when `above` is never better. The threshold lies within -1 and 1.
    """
    order = np.argsort(lead, kind="stable")
    edges = np.clip(np.concatenate(([-1.0], lead[order], [1.0])), -1.0, 1.0)
    allowed = np.diff(edges) > 0  # (N+1,): between two different leads only
    if kept is not None:
        sums = _sums(*kept, order)
        allowed &= sums >= max(part.sum() for part in kept) - 1e-9 * len(lead)
    sums = _sums(below, above, order)
    places = np.flatnonzero(allowed)
    best = places[int(np.argmax(sums[places]))]
    return float((edges[best] + edges[best + 1]) / 2), float(sums[best] / len(lead))


def _sums(below: Floats, above: Floats, order: npt.NDArray[np.int64]) -> Floats:
    """(N + 1,): of the first k in this order from `below`, the others from `above`."""
    return np.concatenate(([above.sum()], above.sum() + np.cumsum((below - above)[order])))


def f1(texts: Sequence[str | None], references: Sequence[str]) -> Floats:
    """Word F1 of each row (N,); a row without a text has 0."""
    return np.array([word_f1(text, other) if text else 0.0 for text, other in zip(texts, references, strict=True)])
