"""The network of one layer, folded: the same function with fewer products a step.

The input of the only layer is a piece's row plus the row of the corpus, x = p + c, and its norm subtracts a mean, which
is linear. With W' = W · diag(g) · (I − 1/C) and r(x) = 1 / deviation of x, the projection of the normed x is

    W · norm(x) = r(x) · (W'·p + W'·c) + W·b

where W'·p is a table with a row a piece, and W'·c is computed once a row of the corpus. Further:

- The output projection of a head goes into its values, W_o[h]·W_v[h]: what attention gathers is then in the residual's
  space, and no projection is left to apply.
- The weights and biases of the other two norms go into the projections that follow them.
- The attention's scale goes into the queries.

All of it is computed in float64, once, when a decoder is loaded. What it saves is in docs/lab.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.ret import PIECE_SCALE, RET

Float32 = npt.NDArray[np.float32]
_Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Folded:
    """Weights, row-major float32; X is heads · (2 · head width + hidden): queries, keys, and values of each head."""

    config: NetworkConfig
    bridge: Float32  # (C, E)
    bridge_norm: Float32  # (2, C): weight and bias
    gate: Float32  # (G, E)
    pieces: Float32  # (V, C), scaled
    mixed: Float32  # (X, C)
    mixed_bias: Float32  # (X,)
    mixed_pieces: Float32  # (V, X): what `mixed` makes of each piece
    up: Float32  # (M, C)
    up_bias: Float32  # (M,)
    down: Float32  # (C, M)
    out: Float32  # (V, C)
    out_bias: Float32  # (V,)
    cos: Float32  # (T + 1, D/2)
    sin: Float32  # (T + 1, D/2)


def can_fold(config: NetworkConfig) -> bool:
    """Whether the network is one layer, applied once: what a second one reads is no sum of two rows."""
    return config.depth == 1


def fold(network: RET) -> Folded:
    """The network, folded. Raises ValueError unless `can_fold`."""
    config = network.config
    if not can_fold(config):
        raise ValueError(f"the network applies {config.depth} layers; expected one, applied once")
    layer = network.layer
    pieces = _array(network.pieces.weight) * PIECE_SCALE  # (V, C)
    projections = _mixed(network)  # (X, C)
    weight, bias = _array(layer.attention_norm.weight), _array(layer.attention_norm.bias)
    scaled = projections * weight  # (X, C)
    mixed = scaled - scaled.mean(axis=1, keepdims=True)  # (X, C): times I − 1/C
    up, out = _array(layer.up.weight), _array(network.pieces.weight)
    return Folded(
        config=config,
        bridge=_float32(_array(network.bridge.weight)),
        bridge_norm=_float32(np.stack([_array(network.bridge_norm.weight), _array(network.bridge_norm.bias)])),
        gate=_float32(np.zeros((0, config.embedding_dim)) if network.gate is None else _array(network.gate.weight)),
        pieces=_float32(pieces),
        mixed=_float32(mixed),
        mixed_bias=_float32(projections @ bias),
        mixed_pieces=_float32(pieces @ mixed.T),
        up=_float32(up * _array(layer.mlp_norm.weight)),
        up_bias=_float32(up @ _array(layer.mlp_norm.bias)),
        down=_float32(_array(layer.down.weight)),
        out=_float32(out * _array(network.final_norm.weight)),
        out_bias=_float32(out @ _array(network.final_norm.bias)),
        cos=_float32(_array(network.cos)),
        sin=_float32(_array(network.sin)),
    )


def _mixed(network: RET) -> _Float64:
    """Queries, scaled, keys, and values with the output projection, one below the other (X, C)."""
    config = network.config
    queries, keys, values = np.split(_array(network.layer.qkv.weight), 3)  # 3 × (H·D, C)
    by_head = values.reshape(config.heads, config.head_width, config.hidden_dim)  # (H, D, C)
    outputs = _array(network.layer.out.weight).reshape(config.hidden_dim, config.heads, config.head_width)  # (C, H, D)
    found = np.einsum("ohd,hdc->hoc", outputs, by_head)  # (H, C, C)
    return np.concatenate([queries / math.sqrt(config.head_width), keys, found.reshape(-1, config.hidden_dim)])


def _array(tensor: Tensor) -> _Float64:
    return tensor.detach().cpu().double().numpy()


def _float32(array: _Float64) -> Float32:
    return np.ascontiguousarray(array, dtype=np.float32)
