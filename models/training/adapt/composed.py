"""A network that reads one embedder's vectors, made to read another's: a map is multiplied into what reads them.

The bridge and the gates are linear in the embedding. The bridge's LayerNorm does not know the length of what it is
given; the gates do, and get mapped embeddings at their mean length.
"""

from __future__ import annotations

import math

import torch

from unembed.models.decoder.ret import RET
from unembed.models.training.adapt.linear_map import Map
from unembed.models.training.warm import BRIDGE, GATE


def compose(network: RET, mapped: Map) -> RET:
    """A network for vectors of D dimensions, from one for E and a map (D, E); all other weights are copies."""
    dim, own = mapped.weights.shape
    # The network scales an embedding to the root of its dimensions; a mapped one has another length.
    weights = torch.from_numpy(mapped.weights).T * (math.sqrt(own / dim) / mapped.length)  # (E, D)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for name in (BRIDGE, GATE):
        if name in state:
            state[name] = state[name] @ weights
    made = RET(network.config.model_copy(update={"embedding_dim": dim}))
    made.load_state_dict(state)
    return made.eval()
