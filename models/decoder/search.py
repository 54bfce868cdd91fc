"""The candidates of each row: its beams, then its samples; and what the network says of each.

A row's candidates are decoded together, but as rows of their own, so what a candidate is depends on (seed, row, its
number) alone, and not on the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from unembed.models.decoder.candidates import Candidates, joined, read
from unembed.models.decoder.engines import Engine
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import Tokenizer
from unembed.schemas import DecodeOptions

AT_ONCE: Final = {"cpu": 1024, "cuda": 8192}  # candidates in the loop together; more only fills memory

Known = Sequence[frozenset[str]]  # (N,): the texts that each row has already; empty: none has any


@dataclass(frozen=True)
class Search:
    """How candidates are looked for; `limit` is the longest text, in pieces."""

    engine: Engine
    tokenizer: Tokenizer
    options: DecodeOptions
    seed: int
    limit: int

    def candidates(self, embeddings: Tensor, rows: Tensor) -> Candidates:
        """For each of embeddings (N, E) its different texts, in the order in which they are found.

        The likeliest beams come first, as many as there are beams or candidates; samples are the rest. `rows` (N,) are
        the indices in the corpus.
        """
        beams = 0 if self.options.width == 1 else min(self.options.width, self.options.candidates)
        found = [self._beams(embeddings, beams)] if beams else []
        if self.options.candidates > beams:
            known = _texts(found[0], len(embeddings)) if found else ()
            found.append(self._samples(embeddings, rows, self.options.candidates - beams, known))
        return joined(found)

    def _beams(self, embeddings: Tensor, most: int) -> Candidates:
        width = self.options.width
        return joined(
            [
                read(
                    self.engine.beams(embeddings[part], self.options, self.limit),
                    self.tokenizer,
                    part.start,
                    each=width,
                    most=most,
                    looked_at=most,
                )
                for part in _parts(len(embeddings), width, embeddings.device)
            ]
        )

    def _samples(self, embeddings: Tensor, rows: Tensor, each: int, known: Known) -> Candidates:
        sampler = Sampler(self.options, self.seed)
        drawn = torch.arange(each, device=rows.device)  # (K,)
        found = []
        for part in _parts(len(embeddings), each, embeddings.device):
            owners = rows[part].repeat_interleave(each)  # (R·K,)
            keys = sampler.keys(owners, drawn.repeat(len(rows[part])))  # (R·K,)
            repeated = embeddings[part].repeat_interleave(each, dim=0)  # (R·K, E)
            generated = self.engine.generate(repeated, sampler, keys, self.limit)
            found.append(read(generated, self.tokenizer, part.start, each, most=each, known=known[part]))
        return joined(found)


def _parts(count: int, each: int, device: torch.device) -> Iterator[slice]:
    """Stretches of rows whose candidates fit in the loop together; one, though empty, of no rows."""
    size = max(1, AT_ONCE.get(device.type, AT_ONCE["cpu"]) // each)
    for begin in range(0, max(1, count), size):
        yield slice(begin, min(begin + size, count))


def _texts(found: Candidates, count: int) -> Known:
    """The texts of each of `count` rows."""
    texts: list[set[str]] = [set() for _ in range(count)]
    for row, text in zip(found.row.tolist(), found.texts, strict=True):
        texts[row].add(text)
    return [frozenset(one) for one in texts]
