"""The network behind the map learns from texts of which the embeddings are estimated, and from the pairs.

A map shows it only what a linear map to another embedder can show. Texts with estimated embeddings, which are as wrong
as estimates are, show what to read in the embeddings themselves. Where held-out texts no longer gain, it was enough:
the weights are those that were best for them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from unembed.models.decoder.ret import RET
from unembed.models.decoder.vectors import Vectors
from unembed.models.training.data import Pairs, epoch_batches
from unembed.models.training.evened import evened
from unembed.models.training.loop import disturb
from unembed.models.training.loss import mean_loss, training_loss
from unembed.models.training.optimiser import descend, learning_rate

BATCH_PIECES: Final = 4096
WARM_UP: Final = 10
CLIP_NORM: Final = 1.0
LOOKS: Final = 6  # at the held-out texts, evenly spaced
ROWS: Final = 400  # of them
MOST_PASSES: Final = 3.0  # over the pairs: of more, they are learnt by heart
EVERY: Final = 2  # steps at least from one with pairs to the next, where there are estimates


@dataclass(frozen=True)
class Polish:
    """How a network is polished."""

    pieces: int = 450_000  # to learn from, at most
    rate: float = 5e-4
    reading_rate: float = 4e-3  # of what reads the embedding, in even coordinates
    noise: float = 0.1  # on the pairs' embeddings; estimates have their errors
    dropout: float = 0.05
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Estimated:
    """Texts with estimated embeddings of D dimensions."""

    pairs: Pairs
    errors: Vectors  # (N, D): those of as good estimates


@dataclass(frozen=True)
class Polished:
    network: RET
    before: float  # nats a piece of the held-out texts
    after: float  # the same; as before, where it did not gain


def polish(
    network: RET,
    pairs: Pairs,
    estimated: Estimated | None,
    held_out: Pairs,
    how: Polish,
    tell: Callable[[str], None] = lambda line: None,
) -> Polished:
    """A copy of the network, as it was best on held-out pairs; all its weights are trained."""
    made = copy.deepcopy(network).train()
    before = mean_loss(network, held_out, ROWS)
    steps, every = _steps(pairs, estimated, how)
    looks = max(1, steps // LOOKS)
    batches = _batches(pairs, estimated, every, how)
    with evened(made, pairs.embeddings) as reading:
        best, found = _state(made), before
        optimiser = _optimiser(made, reading, how)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, step / steps, group["peak"], WARM_UP)
            descend(made, optimiser, training_loss(made, *next(batches)), CLIP_NORM)
            if (step + 1) % looks == 0 or step + 1 == steps:
                now = mean_loss(made, held_out, ROWS)
                tell(f"  step {step + 1:,} of {steps:,}: {now:.3f} nats a piece on held-out texts")
                if now < found:
                    best, found = _state(made), now
        made.load_state_dict(best)
    return Polished(made.eval(), before, found)


def _optimiser(network: RET, reading: list[nn.Parameter], how: Polish) -> torch.optim.AdamW:
    ids = {id(one) for one in reading}
    others = [one for one in network.parameters() if id(one) not in ids]
    groups = [{"params": reading, "peak": how.reading_rate}, {"params": others, "peak": how.rate}]
    return torch.optim.AdamW(groups, lr=how.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)


def _state(network: RET) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _steps(pairs: Pairs, estimated: Estimated | None, how: Polish) -> tuple[int, int]:
    """How many steps to take, and how many there are from one with pairs to the next."""
    own = MOST_PASSES * pairs.total_pieces / BATCH_PIECES
    if estimated is None:
        return max(1, round(min(own, how.pieces / BATCH_PIECES))), 1
    steps = max(1, round(how.pieces / BATCH_PIECES))
    return steps, max(EVERY, round(steps / own))


def _batches(pairs: Pairs, estimated: Estimated | None, every: int, how: Polish) -> Iterator[tuple[Tensor, Tensor]]:
    """Embeddings and ids, step by step, as the network is shown them."""
    random = np.random.default_rng([how.seed, 2])
    own, others = _endless(pairs, [how.seed, 0]), _endless(estimated.pairs, [how.seed, 1]) if estimated else None
    for step in count():
        seed = how.seed * 1_000_003 + step
        if others is None or estimated is None or (step + 1) % every == 0:
            embeddings, ids = next(own)
            yield disturb(embeddings, how.noise, how.dropout, seed), ids
        else:
            embeddings, ids = next(others)
            errors = estimated.errors[random.integers(len(estimated.errors), size=len(embeddings))]
            yield disturb(embeddings + torch.from_numpy(errors), 0.0, how.dropout, seed), ids


def _endless(pairs: Pairs, seed: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    passes = (epoch_batches(pairs.lengths, BATCH_PIECES, np.random.default_rng([*seed, one])) for one in count())
    return map(pairs.batch, chain.from_iterable(passes))
