"""The texts that a row may become, as columns: the pieces stay tensors until one of them is chosen.

M candidates of N rows lie one below the other, row after row; `row` says whose each of them is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unembed.models.decoder.engine import Generated
from unembed.models.decoder.tokenizer import PAD, Tokenizer

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidate:
    """One of a row's possible texts, as it is shown to a person."""

    text: str
    score: float  # the higher the better; what it is depends on the ranking
    source: str  # the decoder that wrote it
    round_trip: float | None = None  # cosine of its embedding and the given one, where that is known


@dataclass(frozen=True)
class Candidates:
    """Different texts of each row, in the order in which they were found."""

    row: Places  # (M,), ascending
    pieces: Generated  # M rows; its log-probabilities are given the row's embedding
    texts: tuple[str, ...]  # (M,)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def log_prob(self) -> Floats:
        """(M,) sums over the pieces, nats."""
        # In float64, where the sum does not depend on how far the row is padded.
        return np.asarray(_numbers(self.pieces.log_probs).sum(axis=1))

    @property
    def least_log_prob(self) -> Floats:
        """(M,) of the least likely piece, nats."""
        return _numbers(self.pieces.log_probs.amin(dim=1)) if len(self) else np.empty(0)

    @property
    def lengths(self) -> Places:
        """(M,) pieces, END counted."""
        return self.pieces.lengths.cpu().numpy().astype(np.int64)

    @property
    def truncated(self) -> npt.NDArray[np.bool_]:
        """(M,): ended by the limit."""
        return self.pieces.truncated.cpu().numpy().astype(np.bool_)

    def take(self, places: Places) -> Candidates:
        """Those at these places, in this order."""
        texts = tuple(self.texts[place] for place in places.tolist())
        return Candidates(self.row[places], subset(self.pieces, places), texts)

    def with_log_probs(self, log_probs: Tensor) -> Candidates:
        """The same, with other log-probabilities (M, T) of their pieces."""
        return replace(self, pieces=replace(self.pieces, log_probs=log_probs))


def joined(parts: Sequence[Candidates]) -> Candidates:
    """The candidates of all parts, row after row; within a row, those of earlier parts first."""
    if len(parts) == 1:
        return parts[0]
    row = np.concatenate([part.row for part in parts])
    longest = max(part.pieces.ids.shape[1] for part in parts)
    together = Candidates(
        row,
        Generated(
            torch.cat([_widened(part.pieces.ids, longest, PAD) for part in parts]),
            torch.cat([_widened(part.pieces.log_probs, longest, 0.0) for part in parts]),
            torch.cat([part.pieces.lengths for part in parts]),
        ),
        tuple(text for part in parts for text in part.texts),
    )
    order = np.argsort(row, kind="stable")
    return together if (order == np.arange(len(order))).all() else together.take(order)


def read(
    generated: Generated,
    tokenizer: Tokenizer,
    first_row: int,
    each: int,
    most: int,
    known: Sequence[frozenset[str]] = (),
    looked_at: int | None = None,
) -> Candidates:
    """The candidates among generated rows (R·each,), `each` neighbours of which belong to one of R rows.

    Of the first `looked_at` neighbours, at most `most` different texts are kept, and none of those that are `known` of
    the row. A neighbour without pieces is a beam that found nothing.
    """
    ids = generated.ids.cpu()
    texts = tokenizer.decode_many(ids.tolist())
    nothing = (ids[:, 0] == PAD).tolist() if ids.shape[1] else [True] * len(ids)
    kept, owners = [], []
    for row in range(len(texts) // each):
        seen = set(known[row]) if known else set()
        full = len(seen) + most
        for place in range(row * each, row * each + (looked_at or each)):
            if len(seen) == full:
                break
            if not nothing[place] and texts[place] not in seen:
                seen.add(texts[place])
                kept.append(place)
                owners.append(first_row + row)
    places = np.asarray(kept, dtype=np.int64)
    return Candidates(
        np.asarray(owners, dtype=np.int64), subset(generated, places), tuple(texts[place] for place in kept)
    )


def subset(generated: Generated, places: Places) -> Generated:
    """The generated rows at these places, in this order."""
    at = torch.from_numpy(places).to(generated.ids.device)
    return Generated(generated.ids[at], generated.log_probs[at], generated.lengths[at])


def _widened(values: Tensor, longest: int, filler: float) -> Tensor:
    return torch.nn.functional.pad(values, (0, longest - values.shape[1]), value=filler)


def _numbers(values: Tensor) -> Floats:
    return values.cpu().numpy().astype(np.float64)
