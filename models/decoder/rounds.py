"""A row's candidates and which of them is best: the search, the ranking, and the encoder's choice among the best."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unembed.models.decoder.candidates import Candidates
from unembed.models.decoder.checkpoint import Checkpoint
from unembed.models.decoder.engines import Engine
from unembed.models.decoder.needs import check_needs
from unembed.models.decoder.rank import Ranked, by_decoder, embedded_again, embedder, nearest_of_best
from unembed.models.decoder.search import Search
from unembed.models.decoder.vectors import Indices, Vectors
from unembed.schemas import DecodeOptions, Precision


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

        Raises InputError when the options need a sketch or an encoder that is not there.
        """
        check_needs(options, self._name, encoder=self.encoder, sketched=self.checkpoint.sketch is not None)
        embedded = embedder(options, self.encoder, self.precision)
        begun = time.perf_counter()
        found = self._found(vectors, indices, options, seed)
        seconds = time.perf_counter() - begun
        ranked = by_decoder(found, options)
        if embedded and options.embed:
            ranked = nearest_of_best(ranked, vectors, embedded, options)
        elif embedded:
            ranked = embedded_again(ranked, vectors, embedded)
        return Searched(ranked, seconds)

    def _found(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> Candidates:
        rows = torch.from_numpy(indices).to(self.engine.device)  # (N,)
        limit = min(options.max_pieces or self.engine.max_pieces, self.engine.max_pieces)
        search = Search(self.engine, self.checkpoint.tokenizer, options, seed, limit)
        return search.candidates(self._tensor(vectors), rows)

    def _tensor(self, vectors: Vectors) -> Tensor:
        return torch.from_numpy(np.require(vectors, np.float32, ("C", "W"))).to(self.engine.device)
