"""RET v2.1: one embedding in, piece logits out, 722,944 parameters at 768 dimensions; and v2.0, its baseline.

Choices:
- One transformer layer, pre-norm, shared by every pass; no biases in its projections. v2.0 has three layers, not
  shared, at twice the width, and 1,000 pieces: 2,977,792 parameters. All the rest is the same (docs/decisions/0007).
- Rotary positions: no parameters.
- The projected embedding is the first position and is added again at every other one.
- The output is tied to the piece embeddings, which are scaled up by `PIECE_SCALE` on the way in: the tied table can
  then be small, as the output needs it, while the pieces still weigh as much as the embedding.
- The embedding is normalised and scaled by √d, so that its entries are of the order of one.
- With `gated_units`, the embedding also scales that many units of the MLP, each by 1 + a linear answer of its own that
  begins at zero: what the text so far calls for is weighed by what the vector says (FiLM: Perez et al. 2018,
  arXiv:1709.07871). At 384 dimensions 256 of them bring the network to the 722,944 parameters it has at 768.

An all-zero embedding is read as "no embedding" (the bridge's answer is masked out): a network trained with embedding
dropout then gives the plain language model, which `quality.py` compares with.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unembed.models.decoder.config import NetworkConfig

PIECE_SCALE = 8.0
ROTARY_BASE = 10_000.0


@dataclass
class Cache:
    """Keys and values of each layer and pass, written in place: a static buffer of (depth, B, H, max positions, W, D).

    W is how many beams a row has: they lie side by side, and a mask says which of them each beam descends from, so that
    nothing is copied when beams branch.
    """

    keys: Tensor
    values: Tensor

    @classmethod
    def empty(cls, config: NetworkConfig, batch: int, positions: int, like: Tensor, beams: int = 1) -> Cache:
        shape = (config.depth, batch, config.heads, positions, beams, config.head_width)
        return cls(like.new_empty(shape), like.new_empty(shape))

    def keep(self, rows: Tensor, filled: int) -> Cache:
        """The cache of these rows alone (B',), of which the first `filled` positions were written."""
        return Cache(*(_kept(part, rows, filled) for part in (self.keys, self.values)))


def _kept(part: Tensor, rows: Tensor, filled: int) -> Tensor:
    kept = part.new_empty((part.shape[0], len(rows), *part.shape[2:]))
    kept[:, :, :, :filled] = part[:, :, :, :filled][:, rows]
    return kept


class Layer(nn.Module):
    """Attention and MLP, pre-norm."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        hidden, attention = config.hidden_dim, config.heads * config.head_width
        self.heads, self.head_width = config.heads, config.head_width
        self.attention_norm = nn.LayerNorm(hidden)
        self.qkv = nn.Linear(hidden, 3 * attention, bias=False)
        self.out = nn.Linear(attention, hidden, bias=False)
        self.mlp_norm = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, config.mlp_dim, bias=False)
        self.down = nn.Linear(config.mlp_dim, hidden, bias=False)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, self.head_width)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # 3 × (B, H, T, D)
        return query, key, value

    def _after(self, x: Tensor, attended: Tensor, gates: Tensor) -> Tensor:
        x = x + self.out(attended.transpose(1, 2).flatten(2))  # (B, T, C)
        units = F.gelu(self.up(self.mlp_norm(x)))  # (B, T, M)
        if gated := gates.shape[-1]:
            units = torch.cat((units[..., :gated] * (1.0 + gates), units[..., gated:]), dim=-1)
        mixed: Tensor = self.down(units)  # (B, T, C)
        return x + mixed

    def forward(self, x: Tensor, gates: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x (B, T, C); gates (B, 1, G) for the first G units of the MLP, G may be 0."""
        query, key, value = self._heads(x)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        return self._after(x, F.scaled_dot_product_attention(query, key, value, is_causal=True), gates)

    def step(
        self,
        x: Tensor,
        gates: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        position: int,
        descent: Tensor | None,
    ) -> Tensor:
        """One position, x (B·W, 1, C), with gates (B·W, 1, G).

        Its key and value are written into the cache (B, H, positions, W, D).
        `descent` (B, 1, W, (position+1)·W) is true where a beam descends from a beam of an earlier position; None when
        W is 1.
        """
        query, key, value = self._heads(x)  # (B·W, H, 1, D)
        rows, _, _, beams, head_dim = keys.shape

        def side_by_side(part: Tensor) -> Tensor:
            return part.view(rows, beams, self.heads, head_dim).transpose(1, 2)  # (B, H, W, D)

        keys[:, :, position] = side_by_side(rotate(key, cos, sin))
        values[:, :, position] = side_by_side(value)
        attended = F.scaled_dot_product_attention(
            side_by_side(rotate(query, cos, sin)),
            keys[:, :, : position + 1].flatten(2, 3),
            values[:, :, : position + 1].flatten(2, 3),
            attn_mask=descent,
        )  # (B, H, W, D)
        return self._after(x, attended.transpose(1, 2).flatten(0, 1)[:, :, None], gates)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions; x (B, H, T, D), cos and sin (T, D/2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


class RET(nn.Module):
    """The network. Ids and embeddings in, logits out; it knows nothing of text."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_dim
        self.bridge = nn.Linear(config.embedding_dim, hidden, bias=False)
        self.bridge_norm = nn.LayerNorm(hidden)
        self.gate = nn.Linear(config.embedding_dim, config.gated_units, bias=False) if config.gated_units else None
        self.pieces = nn.Embedding(config.vocab_size, hidden)
        self.layer = Layer(config)  # named as in the checkpoints of v2.1, which has no other
        self.further = nn.ModuleList(Layer(config) for _ in range(config.layers - 1))
        self.final_norm = nn.LayerNorm(hidden)
        self._initialise()
        self._rotary(config.max_pieces + 1)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
        nn.init.normal_(self.pieces.weight, std=1.0 / math.sqrt(self.config.hidden_dim))
        for layer in self.layers:
            for projection in (layer.out, layer.down):
                nn.init.zeros_(projection.weight)  # each block begins as the identity
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)  # each factor begins at one

    @property
    def layers(self) -> list[Layer]:
        """Those with weights of their own, in their order."""
        return [self.layer, *cast("Iterable[Layer]", self.further)]

    def _rotary(self, positions: int) -> None:
        half = self.config.head_width // 2
        frequencies = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float32) / half)
        angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)  # (T, D/2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def read(self, embeddings: Tensor) -> Tensor:
        """What the network takes from embeddings (B, E): the context (C) and the gates (G) side by side (B, C + G).

        Rows of zeros give zeros.
        """
        largest = embeddings.abs().amax(dim=-1, keepdim=True)  # (B, 1)
        # At most 1 before it is squared, or a vector of 1e30 would have no length, and one of 1e-30 none either.
        unit = embeddings / largest.clamp_min(torch.finfo(embeddings.dtype).tiny)  # (B, E)
        length = unit.norm(dim=-1, keepdim=True).clamp_min(1e-12)  # (B, 1)
        scaled = unit / length * math.sqrt(self.config.embedding_dim)  # (B, E)
        context = self.bridge_norm(self.bridge(scaled)) * (largest > 0)  # (B, C)
        return context if self.gate is None else torch.cat((context, self.gate(scaled)), dim=-1)

    def _parts(self, reading: Tensor) -> tuple[Tensor, Tensor]:
        """Context (..., C) and gates (..., G) of what was read (..., C + G)."""
        hidden = self.config.hidden_dim
        return reading[..., :hidden], reading[..., hidden:]

    def forward(self, embeddings: Tensor, ids: Tensor) -> Tensor:
        """Logits (B, T + 1, V) after the embedding and after each of ids (B, T): position t predicts ids[t]."""
        context, gates = self._parts(self.read(embeddings)[:, None])  # (B, 1, C), (B, 1, G)
        x = torch.cat((context, self.pieces(ids) * PIECE_SCALE + context), dim=1)  # (B, T+1, C)
        cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        for layer in self.layers * self.config.passes:
            x = layer(x, gates, cos, sin)
        return self.logits(x)

    def step(
        self, reading: Tensor, ids: Tensor | None, cache: Cache, position: int, descent: Tensor | None = None
    ) -> Tensor:
        """Logits (B, V) after one more position: the embedding itself (ids None) or the pieces ids (B,).

        `reading` (B, C + G) is what `read` gave. With beams, B is rows times beams, those of a row together; `descent`
        as in `Layer.step`.
        """
        context, gates = self._parts(reading[:, None])  # (B, 1, C), (B, 1, G)
        x = context if ids is None else self.pieces(ids)[:, None] * PIECE_SCALE + context  # (B, 1, C)
        cos, sin = self.cos[position : position + 1], self.sin[position : position + 1]
        for number, layer in enumerate(self.layers * self.config.passes):
            x = layer.step(x, gates, cos, sin, cache.keys[number], cache.values[number], position, descent)
        return self.logits(x)[:, 0]

    def logits(self, x: Tensor) -> Tensor:
        return F.linear(self.final_norm(x), self.pieces.weight)  # (B, T, V)


def count_parts(network: RET) -> dict[str, int]:
    """Parameters by part, counted in the tensors; the tied output counts once."""
    layers = network.layers

    def size(*modules: nn.Module) -> int:
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    return {
        "bridge": size(network.bridge),
        "bridge_norm": size(network.bridge_norm),
        "gate": size(*([] if network.gate is None else [network.gate])),
        "pieces": size(network.pieces),
        "attention": sum(size(layer.qkv, layer.out) for layer in layers),
        "mlp": sum(size(layer.up, layer.down) for layer in layers),
        "layer_norms": sum(size(layer.attention_norm, layer.mlp_norm) for layer in layers),
        "final_norm": size(network.final_norm),
    }
