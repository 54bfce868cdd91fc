"""What reads the embedding learns in coordinates in which embeddings vary as much in every direction as in any other.

Embeddings vary much in a few directions and little in most, and many encoders have a mean that is longer than all of
it. A step of AdamW is as long in each of these, so what the short directions say is learnt last, though it is most of
what tells one text from another. In even coordinates a network that was adapted learns in ten seconds what took it
a minute (docs/lab.md, section 52).

    weights as the network has them  =  weights that are learnt · K,    K = (covariance + mean · meanᵀ + floor)^(−½)

What a network computes is not changed by it, nor is what is saved: K is multiplied into the weights at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations

from unembed.models.decoder.manifold import unit
from unembed.models.decoder.ret import RET
from unembed.models.decoder.vectors import Vectors

FLOOR: Final = 0.03  # of the mean variance, added in each direction, as few embeddings show little of some
MOST_ROWS: Final = 20_000  # that the covariance is found from, about, at even steps
LEARNT: Final = ".parametrizations.weight.original"  # how torch names what is learnt


@contextmanager
def evened(network: RET, vectors: Vectors) -> Iterator[list[nn.Parameter]]:
    """Within it, what reads the embedding is learnt in the even coordinates of embeddings (N, D): these are its
    parameters. Afterwards the network is a plain one again."""
    even_out(network, Even.of(vectors))
    try:
        yield [parameter for one in _readers(network) for parameter in one.parameters()]
    finally:
        for one in _readers(network):
            remove_parametrizations(one, "weight", leave_parametrized=True)


def even_out(network: RET, even: Even) -> None:
    """From now on, what reads the embedding is learnt in even coordinates."""
    for one in _readers(network):
        register_parametrization(one, "weight", even)


def plain_weights(weights: Mapping[str, Tensor], even: Even) -> dict[str, Tensor]:
    """A network's weights by name, as a plain network has them, of those that are learnt in even coordinates."""
    return {
        name.replace(LEARNT, ".weight"): even(value) if LEARNT in name else value for name, value in weights.items()
    }


def _readers(network: RET) -> list[nn.Linear]:
    return [network.bridge, *([] if network.gate is None else [network.gate])]


class Even(nn.Module):
    """K, and the way back."""

    into: Tensor  # (D, D): K
    back: Tensor  # (D, D)

    def __init__(self, into: Tensor, back: Tensor) -> None:
        super().__init__()
        self.register_buffer("into", into, persistent=False)
        self.register_buffer("back", back, persistent=False)

    @classmethod
    def of(cls, vectors: Vectors) -> Even:
        some = vectors[:: max(1, len(vectors) // MOST_ROWS)]
        # At the length at which a network reads them.
        given = torch.from_numpy(unit(some).astype(np.float32)) * math.sqrt(vectors.shape[1])  # (N, D)
        mean = given.mean(dim=0)
        covariance = (given - mean).T @ (given - mean) / len(given)  # (D, D)
        floor = FLOOR * covariance.diagonal().mean().clamp_min(1e-6)  # embeddings that are all one have none
        variances, axes = torch.linalg.eigh(covariance + torch.outer(mean, mean))
        lengths = (variances.clamp_min(0.0) + floor).sqrt()  # (D,)
        into, back = (axes * lengths.reciprocal()) @ axes.T, (axes * lengths) @ axes.T
        return cls(into, back)

    def forward(self, learnt: Tensor) -> Tensor:
        with torch.autocast(learnt.device.type, enabled=False):  # weights of half precision would stay as inexact
            return learnt @ self.into  # (C, D)

    def right_inverse(self, weights: Tensor) -> Tensor:
        return weights @ self.back  # (C, D)
