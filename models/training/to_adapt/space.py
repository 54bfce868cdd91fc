"""The space that the base reads: what words and pairs of words mean, and which they are.

It is that of a sketch, so that texts are placed in it without an embedder. Half of it are the rows of a decoder's
sketch. The other half are the longest directions of counted words and pairs, rare ones weighted more: a map into them
asks what an embedding says of the words themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from unembed.models.decoder.sketch import END, START, UNKNOWN, Bags, Fit, Sketch, bag_sums, packed
from unembed.models.training.sketch import JUDGING, directions

OF_WORDS: Final = 384  # directions of the counts
DIRECTIONS: Final = 512  # of the space
LEAST_WORD, LEAST_PAIR = 2, 15  # times to be seen, for a row
DAMPED: Final = 10.0  # added to how often a row is seen
RARITY: Final = 0.3  # weight: (times seen + damped) ** -rarity
OF_PAIRS: Final = 0.7  # of a word's weight, a pair's
FOUND_FROM: Final = 60_000  # texts
SPARE: Final = 60  # directions more, while the longest are looked for
ROUNDS: Final = 3


def space_of(meaning: Sketch, texts: Sequence[str]) -> Sketch:
    """From a decoder's sketch, and the words and pairs of N texts."""
    bags = meaning.bags(texts[:FOUND_FROM])
    rows = np.asarray(bags.ids, np.int64)
    seen = np.bincount(rows, minlength=len(meaning.rows))
    weights = torch.from_numpy((seen + DAMPED) ** -RARITY).to(torch.float32)[:, None]
    weights[len(meaning.words) :] *= OF_PAIRS
    tables = [
        torch.from_numpy(meaning.table @ meaning.basis.astype(np.float32).T),
        _of_counts(weights, bags),
    ]
    table = torch.cat([one / bag_sums(one, bags).norm(dim=1).mean() for one in tables], dim=1)
    seen = np.bincount(np.asarray(meaning.bags(texts).ids, np.int64), minlength=len(meaning.rows))
    kept = _Kept.of(meaning, seen)
    placed = torch.nn.functional.normalize(bag_sums(table, bags)).numpy()
    axes = directions(placed, np.arange(len(placed)), min(DIRECTIONS, table.shape[1]))
    numbers, scales = packed((table[torch.from_numpy(kept.rows)] @ axes).numpy())
    rank = axes.shape[1]
    return Sketch(
        words=tuple(meaning.words[word] for word in kept.words),
        pairs=kept.pairs,
        rows=numbers,
        scales=scales,
        basis=np.eye(rank, dtype=np.float16),
        metric=np.eye(rank, min(JUDGING, rank), dtype=np.float16),  # nothing is judged in it
        priors=meaning.priors[kept.rows],
        fit=Fit(texts=len(texts), ridge=0.0, held_out=0, cosine=0.0),
    )


def _of_counts(weights: Tensor, bags: Bags) -> Tensor:
    """Rows (R, K), of which the sums are the texts' longest directions, each by the root of its length.

    Halko, Martinsson and Tropp (2011, arXiv:0909.4061): random directions, turned towards the longest by each product.
    """
    ids = torch.from_numpy(np.asarray(bags.ids, np.int64))
    texts = torch.repeat_interleave(torch.from_numpy(np.diff(np.asarray(bags.offsets, np.int64))))

    def back(of_texts: Tensor) -> Tensor:
        return weights * torch.zeros(len(weights), of_texts.shape[1]).index_add_(0, ids, of_texts[texts])

    count = min(OF_WORDS, len(weights), len(bags.offsets) - 1)
    drawn = torch.randn(len(weights), count + SPARE, generator=torch.Generator().manual_seed(0))
    span = torch.linalg.qr(bag_sums(weights * drawn, bags)).Q
    for _ in range(ROUNDS):
        span = torch.linalg.qr(bag_sums(weights * back(span), bags)).Q
    _, lengths, axes = torch.linalg.svd(back(span).T, full_matrices=False)
    found: Tensor = weights * axes[:count].T * lengths[:count].clamp_min(1e-6).rsqrt()
    return found


@dataclass(frozen=True, eq=False)
class _Kept:
    """The words and pairs of a sketch that were seen often enough."""

    words: np.ndarray  # their ids
    pairs: np.ndarray  # (P, 2), of new ids; sorted
    rows: np.ndarray  # of the table, words first

    @classmethod
    def of(cls, sketch: Sketch, seen: np.ndarray) -> _Kept:
        count = len(sketch.words)
        words = np.union1d(np.flatnonzero(seen[:count] >= LEAST_WORD), [START, END])
        new = np.full(count, UNKNOWN)
        new[words] = np.arange(len(words))
        pairs = new[sketch.pairs]  # in order still, as the new ids are in the order of the old ones
        often = np.flatnonzero((seen[count:] >= LEAST_PAIR) & (pairs >= 0).all(axis=1))
        return cls(words, pairs[often].astype(np.int32), np.concatenate([words, count + often]))
