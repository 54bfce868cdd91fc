"""The base learns to read maps: embeddings of many embedders, each mapped into its space by a few thousand pairs."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch

from unembed.errors import InputError
from unembed.models.decoder.checkpoint import Checkpoint
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.ret import RET
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.text_sets import Say
from unembed.models.training.adapt.composed import compose
from unembed.models.training.adapt.linear_map import fit_map
from unembed.models.training.adapt.polish import BATCH_PIECES, CLIP_NORM
from unembed.models.training.data import epoch_batches, pair
from unembed.models.training.loop import disturb
from unembed.models.training.loss import training_loss
from unembed.models.training.optimiser import Average, adamw, descend, learning_rate
from unembed.models.training.to_adapt.embedders import Sayings, draw
from unembed.models.training.to_adapt.space import space_of

NAME: Final = "ret-v21-base"
PART: Final = 24_000  # texts, between two sets of embedders
EMBEDDERS: Final = 6  # of a part, each for as many of its texts
PAIRS: Final = (700, 1000, 2000, 5000, 5000, 10_000)  # that a map is fitted to
RATE: Final = 1.5e-3
DECAY: Final = 0.998
DROPOUT: Final = 0.05
WARM_UP: Final = 100
TOLD: Final = 60.0  # seconds


def make_base(
    start: Checkpoint,
    texts: list[str],
    embedded: Sequence[Vectors],
    minutes: float,
    seed: int,
    say: Say,
) -> Checkpoint:
    """From a decoder with a sketch, and some thousands of texts with their embeddings (N, E) by one embedder or more:
    the one that the decoder reads is the first. From such a base, its own space is kept, and the embedders may be any.

    Raises InputError for a decoder without a sketch, for embeddings of other texts, and for texts that are too long.
    """
    meaning, tokenizer = start.sketch, start.tokenizer
    if meaning is None:
        raise InputError(f"the decoder {start.config.name!r} has no sketch; expected one, which the space is made from")
    if wrong := [len(one) for one in embedded if len(one) != len(texts)]:
        raise InputError(
            f"{wrong[0]:,} embeddings by one embedder are no pairs with {len(texts):,} texts; expected as many"
        )
    space = meaning
    if start.config.name != NAME:
        say(f"finding the space, from {len(texts):,} texts")
        space = space_of(meaning, texts)
    placed = space.vectors(texts)  # (N, D)
    bags = meaning.bags(texts)
    table = torch.from_numpy(meaning.table @ meaning.basis.astype(np.float32).T)
    material = Sayings(embedded, bags, table, np.bincount(bags.ids, minlength=len(meaning.rows)))
    if space is meaning:
        network = copy.deepcopy(start.network)
    else:
        some = slice(max(PAIRS))
        network = compose(start.network, fit_map(placed[some], meaning.vectors(texts[some])))
    network.train()
    learnt, too_long = pair(texts, placed, tokenizer, network.config.max_pieces)
    if too_long:  # the others would lie beside wrong embeddings
        raise InputError(
            f"{too_long:,} of {len(texts):,} texts have more than {network.config.max_pieces} pieces; expected shorter "
            "ones: leave them out"
        )
    optimiser, average = adamw(network, RATE, weight_decay=0.01), Average(network, DECAY)
    begun, told, pieces = time.monotonic(), 0.0, 0
    for step, (rows, vectors) in enumerate(_shown(material, placed, learnt.lengths, seed)):
        spent = time.monotonic() - begun
        if spent > 60.0 * minutes:
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, spent / (60.0 * minutes), RATE, WARM_UP)
        _, ids = learnt.batch(rows)
        loss = training_loss(network, disturb(torch.from_numpy(vectors), 0.0, DROPOUT, step), ids)
        descend(network, optimiser, loss, CLIP_NORM)
        average.update(network)
        pieces += int(learnt.lengths[rows].sum())
        if spent - told > TOLD:
            told = spent
            say(f"  {spent / 60:.0f} of {minutes:g} min, {pieces:,} pieces: {float(loss.detach()):.3f} nats a piece")
    made = RET(network.config)
    made.load_state_dict(average.weights)
    config = CheckpointConfig(name=NAME, network=network.config, encoder=None, calibration=start.config.calibration)
    return Checkpoint(config, made.eval(), tokenizer, manifold=None, sketch=space)


def _shown(material: Sayings, placed: Vectors, lengths: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, Vectors]]:
    """Rows' numbers and their mapped embeddings (B, D), without end."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(placed))
        for first in range(0, len(order), PART):
            rows = order[first : first + PART]
            mapped = np.concatenate(
                [_mapped(material, placed, some, random) for some in np.array_split(rows, EMBEDDERS)]
            )
            for batch in epoch_batches(lengths[rows], BATCH_PIECES, random):
                yield rows[batch], mapped[batch]


def _mapped(material: Sayings, placed: Vectors, rows: np.ndarray, random: np.random.Generator) -> Vectors:
    """By a map of another embedder, fitted to other texts."""
    embedder = draw(material, random)
    pairs = random.choice(len(placed), min(len(placed), int(random.choice(PAIRS))), replace=False)
    return fit_map(embedder(pairs), placed[pairs])(embedder(rows))
