"""Pairs of text and embedding, as the training loop wants them: batches of like length, in a seeded order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unembed.errors import InputError
from unembed.models.decoder.tokenizer import END, PAD, UNKNOWN, Tokenizer, most_characters

MOST_UNREADABLE = 0.1  # share of pieces
MEGABATCH = 64  # batches sorted by length together: enough for little padding, few enough for a well-mixed order


@dataclass(frozen=True)
class Pairs:
    """N texts as pieces, each with its embedding (N, E)."""

    pieces: np.ndarray  # (total,) uint16, the texts one after the other, each with its end mark
    starts: np.ndarray  # (N + 1,) int64
    embeddings: np.ndarray  # (N, E) float16 or float32

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    @property
    def total_pieces(self) -> int:
        return int(self.starts[-1])

    def with_more(self, more: Pairs) -> Pairs:
        """These, and those after them."""
        return Pairs(
            np.concatenate([self.pieces, more.pieces]),
            np.concatenate([self.starts, more.starts[1:] + self.starts[-1]]),
            np.concatenate([self.embeddings, more.embeddings]),
        )

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Embeddings (B, E) float32 and ids (B, T) int64, padded with PAD after the end mark."""
        length = int(self.lengths[rows].max())
        ids = np.full((len(rows), length), PAD, dtype=np.int64)
        for place, row in enumerate(rows):
            text = self.pieces[self.starts[row] : self.starts[row + 1]]
            ids[place, : len(text)] = text
        embeddings = self.embeddings[rows].astype(np.float32)
        return torch.from_numpy(embeddings), torch.from_numpy(ids)


def pair(texts: Sequence[str], embeddings: np.ndarray, tokenizer: Tokenizer, max_pieces: int) -> tuple[Pairs, int]:
    """Tokenised pairs, and how many texts were left out for being longer than max_pieces (end mark included).

    Raises InputError when the counts of texts and embeddings differ, or nothing is left.
    """
    if embeddings.ndim != 2 or len(texts) != len(embeddings):
        raise InputError(f"{len(texts)} texts need embeddings of shape ({len(texts)}, dim), not {embeddings.shape}")
    encoded = tokenizer.encode_many(texts)
    kept = [row for row, ids in enumerate(encoded) if len(ids) < max_pieces]
    if not kept:
        raise InputError(
            f"none of the {len(texts)} texts fits in {max_pieces} pieces; expected shorter texts or a higher limit"
        )
    starts = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum([len(encoded[row]) + 1 for row in kept], out=starts[1:])
    pieces = np.fromiter((piece for row in kept for piece in (*encoded[row], END)), dtype=np.uint16, count=starts[-1])
    chosen = embeddings if len(kept) == len(texts) else embeddings[kept]
    return Pairs(pieces, starts, chosen), len(texts) - len(kept)


def check_alphabet(pairs: Pairs, texts: Sequence[str], tokenizer: Tokenizer) -> float:
    """The share of the texts' pieces that are characters without a piece of their own.

    Raises InputError where it is high: the script has more characters than there is room for.
    """
    share = float(np.mean(pairs.pieces == UNKNOWN))
    if share > MOST_UNREADABLE:
        raise InputError(
            f"{share:.0%} of the texts' pieces would be unreadable: the texts have {len(set().union(*texts)):,} "
            f"different characters, and {tokenizer.vocab_size} pieces have room for "
            f"{most_characters(tokenizer.vocab_size)}; expected a script of letters, not Chinese, Japanese or Korean"
        )
    return share


def epoch_batches(lengths: np.ndarray, batch_pieces: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers, batch by batch: shuffled, sorted by length within stretches; ≤ batch_pieces each, padded."""
    order = generator.permutation(len(lengths))
    stretch = max(1, int(MEGABATCH * batch_pieces / max(1.0, float(lengths.mean()))))
    batches: list[np.ndarray] = []
    for begin in range(0, len(order), stretch):
        rows = order[begin : begin + stretch]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        first = 0
        for last in range(1, len(rows) + 1):
            if last == len(rows) or (last + 1 - first) * lengths[rows[last]] > batch_pieces:
                batches.append(rows[first:last])
                first = last
    for number in generator.permutation(len(batches)):
        yield batches[number]
