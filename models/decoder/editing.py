"""Texts made of others by edits of their words, and what the network says of them.

The best few texts of each row that were not edited yet go to the editor (`edits.py`). What it proposes is written out
as text, in the spelling of the sketch's words, and read by the network: both say where it stands among the candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from unembed.models.decoder.candidates import Candidates, Places
from unembed.models.decoder.edits import Breadth, Editor, Edits
from unembed.models.decoder.engine import Generated
from unembed.models.decoder.engines import Engine
from unembed.models.decoder.sketch import UNKNOWN, Sketch
from unembed.models.decoder.tokenizer import END, PAD, Tokenizer
from unembed.models.decoder.tokenizer import UNKNOWN as UNKNOWN_PIECE
from unembed.models.decoder.vectors import Vectors
from unembed.models.decoder.words import Word, capitalised, join, split, starts_capital, takes_space

BREADTH: Final = Breadth()

Parents = Sequence[tuple[int, tuple[Word, ...]]]  # (M,): the row of each text that is edited, and its words


@dataclass(frozen=True)
class Editing:
    """Edits texts of rows whose embeddings (N, E) are given; `limit` is the longest text, in pieces."""

    sketch: Sketch
    editor: Editor
    tokenizer: Tokenizer
    engine: Engine
    embeddings: Tensor
    limit: int

    def edited(self, found: Candidates, places: Places, queries: Vectors, breadth: Breadth = BREADTH) -> Candidates:
        """What the candidates at these places (M,) become, none of which is among those found.

        queries (M, J) are what each is to come near to.
        """
        parents = [(int(found.row[place]), split(found.texts[place])) for place in places.tolist()]
        ids = [[self.sketch.ids[word.surface] for word in words] for _, words in parents]
        edits = self.editor.edits(ids, queries, breadth)
        known: dict[int, set[str]] = {row: set() for row, _ in parents}
        for row, text in zip(found.row.tolist(), found.texts, strict=True):
            if row in known:
                known[row].add(text)
        rows, texts = self._written(parents, edits, known, breadth)
        return self.read(rows, texts)

    def _written(
        self, parents: Parents, edits: Edits, known: dict[int, set[str]], breadth: Breadth
    ) -> tuple[list[int], list[str]]:
        """The rows and the texts of the best edits, no text twice."""
        rows: list[int] = []
        texts: list[str] = []
        for row, places in _by_row(parents):
            for kind, most in zip(breadth.kinds, breadth.read, strict=True):
                left = most
                for place, number in _best_first(edits, places, kind):
                    if left == 0:
                        break
                    words = parents[place][1]
                    edit = edits.words[place, number, : edits.lengths[place, number]].tolist()
                    text = join(self._rewritten(words, edit))
                    if text not in known[row]:
                        known[row].add(text)
                        rows.append(row)
                        texts.append(text)
                        left -= 1
        return rows, texts

    def _rewritten(self, words: tuple[Word, ...], edit: list[int]) -> list[Word]:
        """A text's words after an edit: capitals and spaces are those of their new places."""
        made: list[Word] = []
        begins_capital = bool(words) and starts_capital(words[0])
        for number in edit:
            surface = words[number].surface if number >= 0 else self.sketch.words[-1 - number]
            if not made:
                made.append(Word(capitalised(surface) if begins_capital else surface))
            elif number > 0:
                made.append(words[number])
            else:  # a new word, or the one that stood at the start
                own = self.sketch.ids[surface] if number == 0 else UNKNOWN
                within = self.sketch.words[own] if own != UNKNOWN else surface
                made.append(Word(within, takes_space(within, made[-1], first=len(made) == 1)))
        return made

    def read(self, rows: list[int], texts: list[str]) -> Candidates:
        """Texts (M,) of rows (M,), ascending, with their likelihoods.

        Those that are too long, or that the network cannot spell, are left out.
        """
        pieces = [[*ids, END] for ids in self.tokenizer.encode_many(texts)]
        fit = [place for place, ids in enumerate(pieces) if len(ids) <= self.limit and UNKNOWN_PIECE not in ids]
        longest = max((len(pieces[place]) for place in fit), default=1)
        ids = torch.tensor(
            [pieces[place] + [PAD] * (longest - len(pieces[place])) for place in fit], dtype=torch.int64
        ).reshape(len(fit), longest)
        lengths = torch.tensor([len(pieces[place]) for place in fit], dtype=torch.int64)
        owners = torch.tensor([rows[place] for place in fit], dtype=torch.int64)
        device = self.engine.device
        given = Generated(ids.to(device), torch.zeros(ids.shape, device=device), lengths.to(device))
        log_probs = self.engine.piece_log_probs(self.embeddings, given, owners.to(device))
        return Candidates(
            owners.numpy(),
            Generated(given.ids, log_probs, given.lengths),
            tuple(self.tokenizer.decode_many(ids.tolist())),
        )


def _by_row(parents: Parents) -> Iterator[tuple[int, list[int]]]:
    """Each row, ascending, and the places of its texts."""
    places: dict[int, list[int]] = {}
    for place, (row, _) in enumerate(parents):
        places.setdefault(row, []).append(place)
    yield from sorted(places.items())


def _best_first(edits: Edits, places: list[int], kind: slice) -> list[tuple[int, int]]:
    """The edits of one kind of all texts at these places, each as its text's place and its number."""
    keys = edits.keys[places, kind]  # (P, S)
    text, number = np.nonzero(edits.lengths[places, kind])
    order = np.argsort(-keys[text, number], kind="stable")
    first = kind.start or 0
    return [(places[text[one]], first + int(number[one])) for one in order.tolist()]
