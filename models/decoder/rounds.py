"""A row's candidates and which of them is best: the search, the ranking, and rounds of both.

In rounds, the budget of candidates is shared out evenly. The first round decodes the given vector e. For each further
one the nearest text so far, with the embedding ê, tells what is still missing: the network decodes e + STEP · (e − ê),
and texts that the row already has are passed over. So as many texts are embedded as in one round; what is dearer is the
decoding. What the rounds gain, and why STEP is what it is, is in docs/lab.md.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor

from unembed.errors import InputError
from unembed.models.decoder.candidates import Candidates, joined
from unembed.models.decoder.checkpoint import Checkpoint
from unembed.models.decoder.engines import Engine
from unembed.models.decoder.rank import Embedded, Ranked, by_decoder, by_encoder, embedded_again, ranking
from unembed.models.decoder.search import Known, Search, texts_of
from unembed.models.decoder.vectors import Indices, Vectors
from unembed.schemas import DecodeOptions, Precision

STEP: Final = 0.2


@dataclass(frozen=True)
class Searched:
    ranked: Ranked
    decode_seconds: float  # in the network; the rest of the time went into ranking


@dataclass(frozen=True)
class Searcher:
    """A network's engine, with what its checkpoint says of it, and its encoder's name."""

    checkpoint: Checkpoint
    engine: Engine
    encoder: str | None
    precision: Precision = "float32"

    @property
    def _name(self) -> str:
        return self.checkpoint.config.name

    def search(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> Searched:
        """The candidates of rows (N, D), ranked.

        Raises InputError when the options need an encoder that the checkpoint does not name or that is not installed.
        """
        by = ranking(options, self.encoder)
        if by == "encoder" and options.candidates > 1:
            return self._in_rounds(vectors, indices, options, seed, self._embedded("rank_by"))
        if options.rounds > 1:
            raise InputError(
                f"rounds is {options.rounds}, which needs the encoder between two rounds, but {self._why_not()}; "
                "expected rounds 1"
            )
        begun = time.perf_counter()
        found = self._found(options, seed, self._tensor(vectors), indices, range(options.candidates))
        seconds = time.perf_counter() - begun
        ranked = by_decoder(found, options)
        if options.round_trip:
            ranked = embedded_again(ranked, vectors, self._embedded("round_trip"))
        return Searched(ranked, seconds)

    def _in_rounds(
        self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int, embedded: Embedded
    ) -> Searched:
        given = self._tensor(vectors)  # (N, E)
        first, *later = shares(options.candidates, options.rounds)
        begun = time.perf_counter()
        found = self._found(options, seed, given, indices, first)
        seconds = time.perf_counter() - begun
        ranked = by_encoder(found, vectors, embedded, options)
        for numbers in later:
            begun = time.perf_counter()
            nearest = embedded.vectors(ranked.best.texts)  # (N, E)
            known = texts_of(found, len(vectors))
            fresh = self._found(options, seed, moved_on(given, self._tensor(nearest)), indices, numbers, known)
            found = joined([found, self._judged(given, fresh)])
            seconds += time.perf_counter() - begun
            ranked = by_encoder(found, vectors, embedded, options)
        return Searched(ranked, seconds)

    def _found(
        self,
        options: DecodeOptions,
        seed: int,
        embeddings: Tensor,
        indices: Indices,
        numbers: range,
        known: Known = (),
    ) -> Candidates:
        rows = torch.from_numpy(indices).to(self.engine.device)  # (N,)
        limit = min(options.max_pieces or self.engine.max_pieces, self.engine.max_pieces)
        search = Search(self.engine, self.checkpoint.tokenizer, options, seed, limit)
        return search.candidates(embeddings, rows, numbers, known)

    def _judged(self, embeddings: Tensor, found: Candidates) -> Candidates:
        """The same, with log-probabilities given embeddings (N, E), and not the moved ones that they were found by."""
        owners = torch.from_numpy(found.row).to(embeddings.device)  # (M,)
        return found.with_log_probs(self.engine.piece_log_probs(embeddings[owners], found.pieces))

    def _tensor(self, vectors: Vectors) -> Tensor:
        return torch.from_numpy(np.require(vectors, np.float32, ("C", "W"))).to(self.engine.device)

    def _embedded(self, option: str) -> Embedded:
        """Raises InputError, naming the option that needs it, when the checkpoint names no encoder."""
        if self.encoder is None:
            raise InputError(f"{option} needs an encoder, but the decoder {self._name!r} names none")
        return Embedded(self.encoder, self.precision)

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
