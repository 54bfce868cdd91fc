"""A row's candidates and which of them is best: the search, the ranking, and rounds of both.

In rounds, the budget of candidates is shared out evenly. The first round decodes the given vector e. For each further
one the nearest text so far, with the embedding ê, tells what is still missing: the network decodes e + STEP · (e − ê),
and texts that the row already has are passed over. So as many texts are embedded as in one round; what is dearer is the
decoding. What the rounds gain, and why STEP is what it is, is in docs/lab.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor

from unembed.errors import InputError
from unembed.models.decoder.base import Indices
from unembed.models.decoder.checkpoint import Checkpoint
from unembed.models.decoder.device import Device
from unembed.models.decoder.engine import piece_log_probs
from unembed.models.decoder.rank import Embedded, Ranked, by_decoder, by_encoder, embedded_again, ranking
from unembed.models.decoder.ret import RET
from unembed.models.decoder.search import Draft, as_generated, drafts
from unembed.models.decoder.vectors import Vectors
from unembed.schemas import DecodeOptions

STEP: Final = 0.2


@dataclass(frozen=True)
class Searched:
    rows: list[Ranked]
    decode_seconds: float  # in the network; the rest of the time went into ranking


@dataclass(frozen=True)
class Searcher:
    """A network on its device, with what its checkpoint says of it, and its encoder's name."""

    checkpoint: Checkpoint
    network: RET
    device: Device
    encoder: str | None

    @property
    def _name(self) -> str:
        return self.checkpoint.config.name

    def search(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> Searched:
        """The candidates of rows (N, D), ranked.

        Raises InputError when the options need an encoder that the checkpoint does not name or that is not installed.
        """
        by = ranking(options, self.encoder)
        if by == "encoder" and options.candidates > 1:
            return self._in_rounds(vectors, indices, options, seed, Embedded(self._needed("rank_by")))
        if options.rounds > 1:
            raise InputError(
                f"rounds is {options.rounds}, which needs the encoder between two rounds, but {self._why_not()}; "
                "expected rounds 1"
            )
        begun = time.perf_counter()
        found = self._drafts(self._tensor(vectors), indices, options, seed)
        seconds = time.perf_counter() - begun
        ranked = by_decoder(found, options, self._name)
        if options.round_trip:
            ranked = embedded_again(ranked, vectors, Embedded(self._needed("round_trip")))
        return Searched(ranked, seconds)

    def _in_rounds(
        self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int, embedded: Embedded
    ) -> Searched:
        given = self._tensor(vectors)  # (N, E)
        seconds = 0.0
        found: list[list[Draft]] = []
        ranked: list[Ranked] = []
        for numbers in shares(options.candidates, options.rounds):
            begun = time.perf_counter()
            if not found:
                found = self._drafts(given, indices, options, seed, numbers)
            else:
                nearest = embedded.vectors([row.best.text for row in ranked])  # (N, E)
                moved = self._drafts(moved_on(given, self._tensor(nearest)), indices, options, seed, numbers, found)
                found = self._judged(given, found, moved)
            seconds += time.perf_counter() - begun
            ranked = by_encoder(found, vectors, embedded, options, self._name)
        return Searched(ranked, seconds)

    def _drafts(
        self,
        embeddings: Tensor,
        indices: Indices,
        options: DecodeOptions,
        seed: int,
        numbers: range | None = None,
        known: Sequence[Sequence[Draft]] = (),
    ) -> list[list[Draft]]:
        rows = torch.from_numpy(indices).to(self.device.torch_device)  # (N,)
        longest = self.checkpoint.config.network.max_pieces
        limit = min(options.max_pieces or longest, longest)
        with self.device.autocast():
            found = drafts(
                self.network, self.checkpoint.tokenizer, embeddings, rows, options, seed, limit, numbers, known
            )
            self.device.synchronize()
        return found

    def _judged(
        self, embeddings: Tensor, known: Sequence[Sequence[Draft]], found: Sequence[Sequence[Draft]]
    ) -> list[list[Draft]]:
        """The drafts found beyond the known ones, with log-probabilities given embeddings (N, E) and no others."""
        fresh = [row[len(before) :] for row, before in zip(found, known, strict=True)]
        flat = [one for row in fresh for one in row]
        if not flat:
            return [list(row) for row in found]
        owners = torch.arange(len(fresh)).repeat_interleave(torch.tensor([len(row) for row in fresh]))  # (M,)
        with self.device.autocast():
            generated = as_generated(flat, self.device.torch_device)
            log_probs = piece_log_probs(self.network, embeddings[owners.to(embeddings.device)], generated)  # (M, T)
        sums, least = log_probs.sum(dim=1).tolist(), log_probs.min(dim=1).values.tolist()
        judged = iter(
            replace(one, log_prob=total, least_log_prob=worst)
            for one, total, worst in zip(flat, sums, least, strict=True)
        )
        return [[*before, *(next(judged) for _ in row)] for before, row in zip(known, fresh, strict=True)]

    def _tensor(self, vectors: Vectors) -> Tensor:
        return torch.from_numpy(np.require(vectors, np.float32, ("C", "W"))).to(self.device.torch_device)

    def _needed(self, option: str) -> str:
        """Raises InputError, naming the option that needs it, when the checkpoint names no encoder."""
        if self.encoder is None:
            raise InputError(f"{option} needs an encoder, but the decoder {self._name!r} names none")
        return self.encoder

    def _why_not(self) -> str:
        if self.encoder is None:
            return f"the decoder {self._name!r} names none"
        return f"its encoder {self.encoder!r} is not installed here"


def shares(candidates: int, rounds: int) -> list[range]:
    """The numbers of each round's candidates: as evenly as can be, the earlier rounds more."""
    ends = [-(-candidates * number // rounds) for number in range(rounds + 1)]
    return [range(begin, end) for begin, end in pairwise(ends)]


def moved_on(given: Tensor, nearest: Tensor) -> Tensor:
    """e + STEP · (e − ê) for unit vectors e and ê, given as vectors (N, E) of any length."""
    given = torch.nn.functional.normalize(given, dim=1)  # (N, E)
    nearest = torch.nn.functional.normalize(nearest, dim=1)  # (N, E)
    return given + STEP * (given - nearest)
