"""A row's candidates and which of them is best: the search, edits of the best, the ranking, and the encoder's verdict.

    candidates ──> ranked by the sketch ──> edits of the best, some rounds ──> the best
                                                     │        ▲
                                            some of the best are embedded, `embed` in all; what the sketch errs
                                            on them corrects it for the texts that are like them (referee.py)

Phrases of a bank beside them (beside.py) are candidates too, and as if they had been embedded. Without a sketch,
candidates are ranked by the network alone, and the encoder takes the nearest of the best.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from unembed.models.decoder.beside import Beside
from unembed.models.decoder.candidates import Candidates, Floats, Places
from unembed.models.decoder.checkpoint import Checkpoint
from unembed.models.decoder.editing import BREADTH, Editing
from unembed.models.decoder.edits import Breadth, Editor, Reading
from unembed.models.decoder.engines import Engine
from unembed.models.decoder.needs import check_needs
from unembed.models.decoder.pool import Pool, best_of_rows
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

BEST: Final = 4  # texts of a row that are edited in a round, at most
FOLLOWED: Final = 2  # and between two verdicts
# A single round is for those who are in a hurry: hardly worse, and several times as fast (docs/lab.md).
QUICK: Final = Breadth(shortlist=64, most=4, moved=0, smoothed=0, read=Reading(1, 0, 0))
WIDE: Final = Breadth(shortlist=384, apart=True)  # before the encoder chooses: it is to have texts of more kinds
# Between two verdicts more are looked for and read: the encoder chooses, and not the network.
OFFERED: Final = replace(WIDE, likeliest=24, most=24, moved=8, smoothed=16, read=Reading(12, 3, 8))


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

    def search(
        self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int, beside: Beside | None = None
    ) -> Searched:
        """The candidates of rows (N, D), ranked; phrases beside them only by a sketch.

        Raises InputError when the options need a sketch or an encoder that is not there.
        """
        sketch = self.checkpoint.sketch
        check_needs(options, self._name, encoder=self.encoder, sketched=sketch is not None)
        embedded = embedder(options, self.encoder, self.precision)
        begun = time.perf_counter()
        found = self._found(vectors, indices, options, seed)
        if sketch is not None and self.editor is not None and ranking(options, sketched=True) == "sketch":
            hunt = self._hunt(sketch, self.editor, vectors, options)
            hunted = hunt.edited(hunt.begun(found, beside))
            seconds = time.perf_counter() - begun
            if embedded and options.embed:
                ranked = hunt.refereed(hunted, vectors, embedded)
            else:
                ranked = hunt.ranked(hunted)
                ranked = embedded_again(ranked, vectors, embedded) if embedded else ranked
            borrowed = beside.places.keys() - _pairs(found) if beside else frozenset[tuple[int, str]]()
            return Searched(replace(ranked, borrowed=borrowed), seconds)
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
class Hunted:
    """What a search has found so far, and what is known of the true embeddings of it."""

    pool: Pool
    verdicts: Verdicts

    def grown(self, pool: Pool) -> Hunted:
        """With more candidates, of each row its own first."""
        return Hunted(pool, self.verdicts.moved(self.pool.candidates, pool.candidates))


@dataclass(frozen=True)
class Hunt:
    """A search by the sketch of N rows."""

    editing: Editing
    queries: Vectors  # (N, J): the embeddings, in the space that texts are judged in
    options: DecodeOptions

    def begun(self, found: Candidates, beside: Beside | None = None) -> Hunted:
        """With the network's candidates, and the phrases beside them."""
        sketch = self.editing.sketch
        pool = Pool.of(found, sketch)
        begun = Hunted(pool, Verdicts.none(len(pool), self.queries.shape[1]))
        if beside is None or not len(beside):
            return begun
        phrases, known = beside.places, _pairs(found)
        new = [pair for pair in phrases if pair not in known]
        read = self.editing.read([row for row, _ in new], [text for _, text in new])
        begun = begun.grown(pool.with_more(Pool.of(read, sketch)))
        pairs = zip(begun.pool.candidates.row.tolist(), begun.pool.candidates.texts, strict=True)
        placed = [(place, phrases[pair]) for place, pair in enumerate(pairs) if pair in phrases]
        places, of = np.asarray(placed, dtype=np.int64).reshape(-1, 2).T
        verdicts = begun.verdicts.with_more(places, beside.embeddings[of], beside.cosines[of], sketch)
        return replace(begun, verdicts=verdicts)

    def ranked(self, hunted: Hunted) -> Ranked:
        worth, candidates = self._worth(hunted), hunted.pool.candidates
        order = best_of_rows(candidates.row, worth, len(candidates))
        return Ranked(candidates.take(order), worth[order], None)

    def edited(self, hunted: Hunted) -> Hunted:
        """After `options.rounds` of edits of the best, towards what they lack, as far as that is known.

        Of few candidates only half are edited: the others are hardly worth the time that it takes (docs/lab.md).
        """
        edited = min(BEST, max(1, self.options.candidates // 2))
        breadth = WIDE if self.options.embed else QUICK if self.options.rounds == 1 else BREADTH
        for _ in range(self.options.rounds):
            best = best_of_rows(hunted.pool.candidates.row, self._worth(hunted), edited)
            hunted = self._with_edits(hunted, best, breadth)
        return hunted

    def refereed(self, hunted: Hunted, vectors: Vectors, embedded: Embedded) -> Ranked:
        """The nearest of `options.embed` texts of each row first, by their cosines with its vector (N, D)."""
        # Towards what the encoder says that they lack, their edits are others.
        hunted = replace(hunted, pool=hunted.pool.as_unedited())
        shares = stages(self.options.embed) if self.options.rounds else [self.options.embed]
        for number, share in enumerate(shares):
            if number:
                hunted = self._with_edits(hunted, self._nearest(hunted), OFFERED)
            candidates, verdicts = hunted.pool.candidates, hunted.verdicts
            unseen = np.where(verdicts.known, -np.inf, self._worth(hunted))
            asked = best_of_rows(candidates.row, unseen, share)
            texts = [candidates.texts[place] for place in asked.tolist()]
            cosines = embedded.cosines(texts, vectors[candidates.row[asked]])
            if texts:
                verdicts = verdicts.with_more(asked, embedded.vectors(texts), cosines, self.editing.sketch)
                hunted = replace(hunted, verdicts=verdicts)
        return self._judged(hunted)

    def _nearest(self, hunted: Hunted) -> Places:
        """Of each row the few that are known to be nearest."""
        verdicts = hunted.verdicts
        worth = np.where(verdicts.known, verdicts.cosines, -np.inf)
        return best_of_rows(hunted.pool.candidates.row, worth, FOLLOWED)

    def _worth(self, hunted: Hunted) -> Floats:
        """(M,): by the sketch alone, or as it is corrected by what is known."""
        pool, verdicts = hunted.pool, hunted.verdicts
        if not verdicts.known.any():
            return pool.worth(self.queries, self.options)
        row, known = pool.candidates.row, verdicts.known
        cosines = estimated(pool.sketches, errors(pool.sketches, verdicts, row), self.queries[row])
        cosines[known] = np.einsum("mj,mj->m", verdicts.embedded[known], self.queries[row[known]])
        return SURENESS * cosines + pool.readability(self.options)

    def _judged(self, hunted: Hunted) -> Ranked:
        """Those that were embedded by their cosines, of equally near ones the likelier first; then the others."""
        verdicts = hunted.verdicts
        scores = np.where(verdicts.known, verdicts.cosines, self._worth(hunted))
        return nearest_first(hunted.pool.candidates, verdicts.cosines, scores, self.options)

    def _with_edits(self, hunted: Hunted, places: Places, breadth: Breadth) -> Hunted:
        """With what the candidates at these places (K,) become that were not edited yet."""
        pool, row = hunted.pool, hunted.pool.candidates.row
        places = places[~pool.edited[places]]
        if not len(places):
            return hunted
        aimed = self.queries[row[places]]  # (K, J)
        if hunted.verdicts.known.any():
            aimed = aims(aimed, errors(pool.sketches, hunted.verdicts, row)[places])
        found = self.editing.edited(pool.candidates, places, aimed, breadth)
        pool = pool.as_edited(places)
        return hunted.grown(pool.with_more(Pool.of(found, self.editing.sketch)) if len(found) else pool)


def _pairs(found: Candidates) -> set[tuple[int, str]]:
    """Each row's texts."""
    return set(zip(found.row.tolist(), found.texts, strict=True))
