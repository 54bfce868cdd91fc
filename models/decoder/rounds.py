"""A row's candidates and which of them is best: the search, edits of the best, the ranking, and the encoder's verdict.

    candidates ──> ranked by the sketch ──> edits of the best, `edits` rounds ──> the best
                                                     │        ▲
                                            some of the best are embedded, `embed` in all; what the sketch errs
                                            on them corrects it for the texts that are like them (referee.py)

Without a sketch, candidates are ranked by the network alone, and the encoder takes the nearest of the best.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from unembed.models.decoder.candidates import Candidates, Floats, Places
from unembed.models.decoder.checkpoint import Checkpoint
from unembed.models.decoder.editing import Editing
from unembed.models.decoder.edits import Editor
from unembed.models.decoder.engines import Engine
from unembed.models.decoder.needs import check_needs
from unembed.models.decoder.pool import Pool, best_of_rows, likelihood
from unembed.models.decoder.rank import (
    Embedded,
    Ranked,
    by_decoder,
    embedded_again,
    embedder,
    nearest_first,
    nearest_of_best,
    ranking,
)
from unembed.models.decoder.referee import SURENESS, Verdicts, aims, errors, estimated, stages
from unembed.models.decoder.search import Search
from unembed.models.decoder.sketch import Sketch
from unembed.models.decoder.vectors import Indices, Vectors
from unembed.schemas import DecodeOptions, Precision

BEST: Final = 4  # texts of a row that are edited in a round
FOLLOWED: Final = 2  # and between two verdicts


@dataclass(frozen=True)
class Searched:
    ranked: Ranked
    decode_seconds: float  # in the network, and in edits; the rest of the time went into ranking


@dataclass(frozen=True)
class Searcher:
    """A network's engine, with what its checkpoint says of it, and its encoder's name."""

    checkpoint: Checkpoint
    engine: Engine
    encoder: str | None
    precision: Precision = "float32"
    editor: Editor | None = None  # there where the checkpoint has a sketch

    @property
    def _name(self) -> str:
        return self.checkpoint.config.name

    def search(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> Searched:
        """The candidates of rows (N, D), ranked.

        Raises InputError when the options need a sketch or an encoder that is not there.
        """
        sketch = self.checkpoint.sketch
        check_needs(options, self._name, encoder=self.encoder, sketched=sketch is not None)
        by = ranking(options, sketched=sketch is not None)
        embedded = embedder(options, self.encoder, self.precision)
        begun = time.perf_counter()
        found = self._found(vectors, indices, options, seed)
        if sketch is not None and self.editor is not None and by == "sketch":
            hunt = self._hunt(sketch, self.editor, vectors, options)
            pool = hunt.edited(Pool.of(found, sketch), options.edits)
            seconds = time.perf_counter() - begun
            if not (embedded and options.embed):
                ranked = hunt.ranked(pool)
                return Searched(embedded_again(ranked, vectors, embedded) if embedded else ranked, seconds)
            return Searched(hunt.refereed(pool, vectors, embedded), seconds)
        seconds = time.perf_counter() - begun
        ranked = by_decoder(found, options)
        if embedded and options.embed:
            ranked = nearest_of_best(ranked, vectors, embedded, options)
        elif embedded:
            ranked = embedded_again(ranked, vectors, embedded)
        return Searched(ranked, seconds)

    def _hunt(self, sketch: Sketch, editor: Editor, vectors: Vectors, options: DecodeOptions) -> Hunt:
        editing = Editing(
            sketch, editor, self.checkpoint.tokenizer, self.engine, self._tensor(vectors), self._limit(options)
        )
        return Hunt(editing, sketch.queries(vectors), options)

    def _found(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> Candidates:
        rows = torch.from_numpy(indices).to(self.engine.device)  # (N,)
        search = Search(self.engine, self.checkpoint.tokenizer, options, seed, self._limit(options))
        return search.candidates(self._tensor(vectors), rows)

    def _limit(self, options: DecodeOptions) -> int:
        return min(options.max_pieces or self.engine.max_pieces, self.engine.max_pieces)

    def _tensor(self, vectors: Vectors) -> Tensor:
        return torch.from_numpy(np.require(vectors, np.float32, ("C", "W"))).to(self.engine.device)


@dataclass(frozen=True)
class Hunt:
    """A search by the sketch of N rows."""

    editing: Editing
    queries: Vectors  # (N, J): the embeddings, in the space that texts are judged in
    options: DecodeOptions

    def ranked(self, pool: Pool) -> Ranked:
        worth = pool.worth(self.queries, self.options)
        order = best_of_rows(pool.candidates.row, worth, len(pool))
        return Ranked(pool.candidates.take(order), worth[order], None)

    def edited(self, pool: Pool, rounds: int) -> Pool:
        for _ in range(rounds):
            best = best_of_rows(pool.candidates.row, pool.worth(self.queries, self.options), BEST)
            pool = self._with_edits(pool, best[~pool.edited[best]], self.queries[pool.candidates.row])
        return pool

    def refereed(self, pool: Pool, vectors: Vectors, embedded: Embedded) -> Ranked:
        """The nearest of `options.embed` texts of each row first, by their cosines with its vector (N, D)."""
        pool = pool.as_unedited()  # towards what the encoder says that they lack, their edits are others
        verdicts = Verdicts.none(len(pool), self.queries.shape[1])
        shares = stages(self.options.embed) if self.options.edits else [self.options.embed]
        for number, share in enumerate(shares):
            if number:
                grown = self._followed(pool, verdicts)
                verdicts, pool = verdicts.moved(pool.candidates, grown.candidates), grown
            asked = best_of_rows(pool.candidates.row, self._worth(pool, verdicts), share)
            texts = [pool.candidates.texts[place] for place in asked.tolist()]
            cosines = embedded.cosines(texts, vectors[pool.candidates.row[asked]])
            if texts:
                verdicts = verdicts.with_more(asked, embedded.vectors(texts), cosines, self.editing.sketch)
        return self._judged(pool, verdicts)

    def _followed(self, pool: Pool, verdicts: Verdicts) -> Pool:
        """With edits of the nearest texts towards what they are known to lack."""
        row = pool.candidates.row
        worth = np.where(verdicts.known, verdicts.cosines, -np.inf)
        best = best_of_rows(row, worth, FOLLOWED)
        best = best[~pool.edited[best]]
        beyond = errors(pool.sketches, verdicts, row)
        return self._with_edits(pool, best, aims(self.queries[row], beyond))

    def _worth(self, pool: Pool, verdicts: Verdicts) -> Floats:
        """Of those that were not embedded; -inf of the others."""
        row = pool.candidates.row
        if not verdicts.known.any():
            return pool.worth(self.queries, self.options)
        cosines = estimated(pool.sketches, errors(pool.sketches, verdicts, row), self.queries[row])
        return np.where(verdicts.known, -np.inf, SURENESS * cosines + likelihood(pool.candidates, self.options))

    def _judged(self, pool: Pool, verdicts: Verdicts) -> Ranked:
        """Those that were embedded by their cosines, of equally near ones the likelier first; then the others."""
        scores = np.where(verdicts.known, verdicts.cosines, self._worth(pool, verdicts))
        return nearest_first(pool.candidates, verdicts.cosines, scores, self.options)

    def _with_edits(self, pool: Pool, places: Places, aimed: Vectors) -> Pool:
        """With what the candidates at these places (K,) become, edited towards what each should come near to (M, J)."""
        if not len(places):
            return pool
        found = self.editing.edited(pool.candidates, places, aimed[places])
        pool = pool.as_edited(places)
        return pool.with_more(Pool.of(found, self.editing.sketch)) if len(found) else pool
