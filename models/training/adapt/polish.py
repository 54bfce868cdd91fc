"""A few passes over the pairs, stopped where held-out texts no longer gain: a network gets used to what it reads now.

Mapped embeddings are less sure than those that the network was trained on. It is shown each text's embedding as it is
mapped without that text, and learns how far to believe such ones; then, composed with the map, it sees the embeddings
themselves, from which it may read what the map has left out.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from unembed.models.decoder.ret import RET
from unembed.models.training.data import Pairs, epoch_batches
from unembed.models.training.loop import count_batches, disturb, mean_loss, piece_loss
from unembed.models.training.optimiser import adamw, learning_rate

BATCH_PIECES: Final = 4096
WARM_UP: Final = 10
LOOKS: Final = 6  # at the held-out texts, evenly spaced
ROWS: Final = 400  # of them


@dataclass(frozen=True)
class Polish:
    """How a network is polished."""

    passes: float = 3.0
    seconds: float = 15.0  # at most
    rate: float = 3e-4
    noise: float = 0.1
    dropout: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Polished:
    network: RET
    before: float  # nats a piece of the held-out texts
    after: float  # the same; as before, where it did not gain


def polish(
    network: RET, pairs: Pairs, held_out: Pairs, how: Polish, tell: Callable[[str], None] = lambda line: None
) -> Polished:
    """A copy of the network, as it was best on held-out pairs; all its weights are trained."""
    made = copy.deepcopy(network).train()
    before = mean_loss(network, held_out, ROWS)
    best, found = {name: value.clone() for name, value in made.state_dict().items()}, before
    steps = max(1, round(how.passes * count_batches(pairs, BATCH_PIECES)))
    looks = max(1, steps // LOOKS)
    optimiser = adamw(made, how.rate, weight_decay=0.0)
    begun, step, number, progress = time.monotonic(), 0, 0, 0.0
    while progress < 1.0:
        for rows in epoch_batches(pairs.lengths, BATCH_PIECES, np.random.default_rng([how.seed, number])):
            progress = max(step / steps, (time.monotonic() - begun) / how.seconds)
            if progress >= 1.0:
                break
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, progress, how.rate, WARM_UP)
            embeddings, ids = pairs.batch(rows)
            noisy = disturb(embeddings, how.noise, how.dropout, how.seed * 1_000_003 + step)
            loss = piece_loss(made, noisy, ids)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
            optimiser.step()
            step += 1
            if step % looks == 0 or step == steps:
                now = mean_loss(made, held_out, ROWS)
                tell(f"  step {step:,} of at most {steps:,}: {now:.3f} nats a piece on held-out texts")
                if now < found:
                    best, found = {name: value.clone() for name, value in made.state_dict().items()}, now
        number += 1
    made.load_state_dict(best)
    return Polished(made.eval(), before, found)
