"""What is measured of the text that is kept of each row: by the network, by the sketch, and by the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unembed.models.decoder.engines import Engine
from unembed.models.decoder.quality import Evidence, word_diversity
from unembed.models.decoder.rank import Ranked
from unembed.models.decoder.sketch import Sketch
from unembed.models.decoder.vectors import Vectors


def evidence_of(ranked: Ranked, vectors: Vectors, engine: Engine, sketch: Sketch | None) -> Evidence:
    """Of the best of each row; vectors (N, D) are those of the rows."""
    best = ranked.best
    alone = best.with_log_probs(engine.piece_log_probs(None, best.pieces))  # without the embedding
    return Evidence(
        log_prob=best.log_prob / best.lengths,
        lm_log_prob=alone.log_prob / best.lengths,
        least_log_prob=best.least_log_prob,
        pieces=best.lengths,
        words=np.array([len(text.split()) for text in best.texts], dtype=np.int64),
        diversity=np.array([word_diversity(text) for text in best.texts], dtype=np.float64),
        truncated=best.truncated,
        candidates=np.bincount(ranked.candidates.row),
        round_trip=ranked.best_round_trips,
        **({} if sketch is None else _seen_by(sketch, best.texts, vectors)),
    )


def _seen_by(sketch: Sketch, texts: Sequence[str], vectors: Vectors) -> dict[str, Any]:
    """What the sketch knows of N texts and the vectors (N, D) that they were decoded from, each (N,)."""
    bags, unknown_words = sketch.bags_and_unknown(texts)
    coordinates = sketch.coordinates(vectors)  # (N, K)
    sums = sketch.sum_rows(bags)  # (N, K)
    lengths = np.linalg.norm(sums, axis=1)  # (N,)
    pairs = np.concatenate([[0], np.cumsum(bags.ids >= len(sketch.words))])  # of all rows before
    pairs, rows = np.diff(pairs[bags.offsets]), np.diff(bags.offsets)  # (N,)
    found = {
        "sketch": (sums * coordinates).sum(axis=1) / np.where(lengths > 0, lengths, 1),
        "nearness": (sketch.judged_bags(bags) * sketch.queries_of(coordinates)).sum(axis=1),
        "sketch_length": lengths,
        "known_pairs": pairs / np.maximum(1, rows - pairs - 1),
        "unknown_words": unknown_words,
    }
    return {name: values.astype(np.float64) for name, values in found.items()}
