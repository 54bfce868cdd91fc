"""Embedders to learn from: true ones, and others made up, as different from each other as those of strangers are.

One that is made up projects what a true embedder says of a text, a random vector for each of its words and pairs, or
both; bends it, adds noise, and a mean that all texts share. A network that reads the maps of many of them reads the map
of one more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unembed.models.decoder.manifold import unit
from unembed.models.decoder.sketch import Bags, bag_sums
from unembed.models.decoder.vectors import Vectors

TRUE: Final = (0.35, 0.65)  # of the embedders are a true one: where there is only one, and where there are more
FIRST: Final = 0.3  # of the true ones are the first, where there are more
OF_WORDS: Final = 0.23  # of those made up know the words alone
WIDTHS: Final = (256, 384, 384, 512)
NOISES: Final = (0.0, 0.1, 0.2, 0.35)
MEANS: Final = (0.0, 0.0, 1.0, 3.0)

Embedder = Callable[[np.ndarray], Vectors]  # of rows' numbers: (M, D) at length 1


@dataclass(frozen=True, eq=False)
class Sayings:
    """N texts: what true embedders say of them, and which words and pairs they have."""

    embedded: Sequence[Vectors]  # of each embedder (N, E), the decoder's own first
    bags: Bags
    meaning: Tensor  # (R, E): a sketch's table, for the words that only words embed
    seen: np.ndarray  # (R,): times

    def of(self, rows: np.ndarray) -> Bags:
        offsets = np.asarray(self.bags.offsets, np.int64)
        sizes = offsets[rows + 1] - offsets[rows]
        ends = np.cumsum(sizes)
        places = np.repeat(offsets[rows] - (ends - sizes), sizes) + np.arange(sizes.sum())
        return Bags(np.asarray(self.bags.ids, np.int64)[places], np.concatenate([[0], ends]))


def draw(material: Sayings, random: np.random.Generator) -> Embedder:
    """One embedder; the same of the same generator."""
    first, *others = material.embedded
    embedded = others[random.integers(len(others))] if others and random.random() >= FIRST else first
    if random.random() < TRUE[bool(others)]:
        return lambda rows: np.asarray(unit(embedded[rows]), np.float32)
    true = random.random() >= OF_WORDS
    own, other = (embedded if true else material.meaning).shape[1], int(random.choice([192, 256, 384]))
    rarity = (material.seen + 5.0) ** -random.uniform(0.1, 0.6)
    table = torch.from_numpy((random.normal(size=(len(material.seen), other)) * rarity[:, None]).astype(np.float32))
    says = random.uniform(0.4, 1.0) if true else random.uniform(0.3, 1.5)
    words = random.uniform(0.15, 0.9) if true else 1.0
    width = int(random.choice(WIDTHS))
    turn = torch.from_numpy((random.normal(size=(own + other, width)) / (own + other) ** 0.5).astype(np.float32))
    bend, noise = random.uniform(0.3, 3.0), float(random.choice(NOISES))
    mean = torch.from_numpy((random.normal(size=width) * random.choice(MEANS) / width**0.5).astype(np.float32))
    seed = int(random.integers(1 << 30))

    def embed(rows: np.ndarray) -> Vectors:
        bags = material.of(rows)
        said = torch.from_numpy(embedded[rows].astype(np.float32)) if true else bag_sums(material.meaning, bags)
        both = torch.cat([F.normalize(said) * says, F.normalize(bag_sums(table, bags)) * words], dim=1)
        turned = F.normalize(both) * (own + other) ** 0.5 @ turn  # (M, width)
        seen = F.normalize(torch.tanh(bend * turned) if true else turned)
        drawn = torch.randn(seen.shape, generator=torch.Generator().manual_seed(seed + len(rows)))
        return F.normalize(F.normalize(seen + F.normalize(drawn) * noise) + mean).numpy()

    return embed
