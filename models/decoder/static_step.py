"""One step of the decoding loop over buffers that stay where they are, which is what a CUDA graph can capture.

The loop of `engine.py` makes new tensors at every step and drops rows whenever enough have ended. A GPU then waits for
Python: a network this small takes less time to compute than to launch. Here nothing depends on the data: the number of
slots and the position are Python numbers, so several steps are one graph. The same code runs eagerly on any device.

The first layer's norm and projection are folded as in `folding.py`: a table with a row a piece, and one product a row
of the corpus. The output projection is not folded into the values, since on a GPU reading the cache is what costs, and
folded values would be twice as wide. Later layers and passes read no sum of two rows, so theirs are products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.ret import PIECE_SCALE, RET, Layer, rotate
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import END, PAD

NOWHERE: Final = -1
_STRETCH: Final = 1024  # slots
_Linear = tuple[Tensor, Tensor | None]  # weight (out, in), bias (out,)


@dataclass(frozen=True)
class Slots:
    """B rows that are decoded together, up to T pieces each. X is the width of queries, keys and values together."""

    place: Tensor  # (B,) int64: where the row goes in the output; −1 where there is no row
    draws: Tensor  # (B,) int64: what the sampler draws with
    context: Tensor  # (B, C) float32
    mixed: Tensor  # (B, X): what the first projection makes of the context
    factors: Tensor  # (B, G): of the gated units
    previous: Tensor  # (B,) int64: the last piece; the number of pieces stands for none
    alive: Tensor  # (B,) bool
    ended_at: Tensor  # (B,) int64
    ids: Tensor  # (B, T) int64
    log_probs: Tensor  # (B, T) float32
    keys: tuple[Tensor, ...]  # of each layer and pass (B, H, T, D)
    values: tuple[Tensor, ...]

    def tensors(self) -> list[Tensor]:
        own = [getattr(self, name) for name in _BY_SLOT]
        return [*own, *self.keys, *self.values]

    def first(self, count: int) -> Slots:
        """The same memory, of the first `count` slots alone."""
        own = {name: getattr(self, name)[:count] for name in _BY_SLOT}
        return Slots(**own, keys=tuple(k[:count] for k in self.keys), values=tuple(v[:count] for v in self.values))

    @property
    def positions(self) -> int:
        return self.ids.shape[1]

    @property
    def count(self) -> int:
        return len(self.place)


_BY_SLOT = (
    "place", "draws", "context", "mixed", "factors", "previous", "alive", "ended_at", "ids", "log_probs",
)  # fmt: skip


@dataclass(frozen=True)
class _Weights:
    """Of one layer, the norms before its projections folded into them."""

    qkv: _Linear
    out: Tensor
    up: _Linear
    down: Tensor


class StaticNetwork:
    """The weights as the step uses them, on the network's device; products in `dtype`, sums and norms in float32."""

    def __init__(self, network: RET, dtype: torch.dtype) -> None:
        self.config, self.dtype, self.device = network.config, dtype, network.pieces.weight.device
        self._cos, self._sin = network.cos.float(), network.sin.float()
        self._eps = network.final_norm.eps
        pieces = _exact(network.pieces.weight) * PIECE_SCALE  # (V, C)
        norm = network.layer.attention_norm
        scaled = _exact(network.layer.qkv.weight) * _exact(norm.weight)  # (X, C)
        mixed = scaled - scaled.mean(dim=1, keepdim=True)  # (X, C)
        self._pieces = F.pad(pieces, (0, 0, 0, 1)).float()  # (V + 1, C): the last row is no piece
        self._mixed_pieces = F.pad(pieces @ mixed.T, (0, 0, 0, 1)).float()  # (V + 1, X)
        self._mixed = mixed.float()  # (X, C)
        self._mixed_bias = (_exact(network.layer.qkv.weight) @ _exact(norm.bias)).float()  # (X,)
        self._layers = [self._folded(layer) for layer in network.layers * self.config.passes]
        self._out = self._after(network.final_norm, network.pieces.weight)

    def _folded(self, layer: Layer) -> _Weights:
        return _Weights(
            qkv=self._after(layer.attention_norm, layer.qkv.weight),
            out=layer.out.weight.to(self.dtype),
            up=self._after(layer.mlp_norm, layer.up.weight),
            down=layer.down.weight.to(self.dtype),
        )

    def _after(self, norm: torch.nn.LayerNorm, weight: Tensor) -> _Linear:
        """The projection, with the weight and bias of the norm before it."""
        exact = _exact(weight)
        return (exact * _exact(norm.weight)).to(self.dtype), (exact @ _exact(norm.bias)).to(self.dtype)

    def empty(self, count: int, positions: int) -> Slots:
        """Buffers of `count` slots; what they hold means nothing until `fill`."""
        config = self.config
        attention = config.heads * config.head_width

        def of(*shape: int, dtype: torch.dtype = self.dtype) -> Tensor:
            return torch.zeros((count, *shape), dtype=dtype, device=self.device)

        def cache() -> tuple[Tensor, ...]:
            return tuple(of(config.heads, positions, config.head_width) for _ in range(config.depth))

        return Slots(
            place=of(dtype=torch.int64),
            draws=of(dtype=torch.int64),
            context=of(config.hidden_dim, dtype=torch.float32),
            mixed=of(3 * attention),
            factors=of(config.gated_units),
            previous=of(dtype=torch.int64),
            alive=of(dtype=torch.bool),
            ended_at=of(dtype=torch.int64),
            ids=of(positions, dtype=torch.int64),
            log_probs=of(positions, dtype=torch.float32),
            keys=cache(),
            values=cache(),
        )

    def fill(self, slots: Slots, reading: Tensor, places: Tensor, draws: Tensor) -> None:
        """Puts rows into the first N slots: what `RET.read` made of them (N, C + G), where they go (N,), and what they
        draw with (N,).

        The slots after them hold no row: they are computed, and count for nothing.
        """
        count = len(reading)
        slots.place.fill_(NOWHERE)
        slots.alive.zero_()
        slots.alive[:count] = True
        slots.ended_at.fill_(slots.positions)
        slots.ids.fill_(PAD)
        slots.log_probs.zero_()
        slots.previous.fill_(self.config.vocab_size)
        slots.place[:count] = places
        slots.draws[:count] = draws
        context, gates = reading.float().tensor_split([self.config.hidden_dim], dim=1)  # (N, C), (N, G)
        slots.context[:count] = context
        slots.mixed[:count] = context @ self._mixed.T
        slots.factors[:count] = 1.0 + gates

    def logits(self, slots: Slots, position: int) -> Tensor:
        """Float logits (B, V) after the previous pieces; their keys and values go into the cache at `position`."""
        x = self._pieces[slots.previous] + slots.context  # (B, C)
        deviation = torch.rsqrt(x.var(dim=1, correction=0, keepdim=True) + self._eps)  # (B, 1)
        qkv = (self._mixed_pieces[slots.previous] + slots.mixed) * deviation + self._mixed_bias  # (B, X)
        for number, layer in enumerate(self._layers):
            if number:
                qkv = F.linear(self._normed(x), *layer.qkv)  # (B, X)
            x = x + F.linear(self._attended(qkv, slots.keys[number], slots.values[number], position), layer.out)
            units = F.gelu(F.linear(self._normed(x), *layer.up))  # (B, M)
            units[:, : self.config.gated_units] *= slots.factors
            x = x + F.linear(units, layer.down)  # (B, C)
        return F.linear(self._normed(x), *self._out).float()

    def _attended(self, qkv: Tensor, keys: Tensor, values: Tensor, position: int) -> Tensor:
        config, now = self.config, slice(position, position + 1)
        query, key, value = qkv.view(len(qkv), 3, config.heads, 1, config.head_width).unbind(1)  # 3 × (B, H, 1, D)
        keys[:, :, now] = rotate(key, self._cos[now], self._sin[now])
        values[:, :, now] = value
        query = rotate(query, self._cos[now], self._sin[now]).to(self.dtype)
        upto = slice(0, position + 1)
        return F.scaled_dot_product_attention(query, keys[:, :, upto], values[:, :, upto]).flatten(1)  # (B, H·D)

    def _normed(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:], eps=self._eps).to(self.dtype)

    def step(self, slots: Slots, sampler: Sampler, position: int) -> None:
        """One more piece for each row that is alive. Nothing here waits for the device."""
        logits = self.logits(slots, position)  # (B, V)
        chosen = sampler.choose(logits, slots.ids[:, :position], slots.draws, position)  # (B,)
        chosen = torch.where(slots.alive, chosen, PAD)
        picked = logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(dim=1)  # (B,)
        slots.ids[:, position] = chosen
        slots.log_probs[:, position] = torch.where(slots.alive, picked, 0.0)
        ending = slots.alive & (chosen == END)  # (B,)
        slots.ended_at.masked_fill_(ending, position + 1)
        slots.alive.logical_and_(~ending)
        slots.previous.copy_(chosen)


def compact(slots: Slots, kept: Tensor) -> None:
    """Moves the slots `kept` (K,), ascending, to the front; those behind them hold no row from then on.

    In stretches, since a copy of the whole cache would take as much memory again. A slot never moves to a later place,
    so what one stretch writes, no later one reads.
    """
    for tensor in slots.tensors():
        for begin in range(0, len(kept), _STRETCH):
            part = kept[begin : begin + _STRETCH]
            tensor[begin : begin + len(part)] = tensor[part]
    slots.place[len(kept) :] = NOWHERE
    slots.alive[len(kept) :] = False


def bytes_a_slot(network: StaticNetwork, positions: int) -> int:
    """What a slot takes on the device: its buffers, and an estimate of what a step needs beside them."""
    one = sum(tensor.element_size() * tensor[0].numel() for tensor in network.empty(1, positions).tensors())
    return one + bytes_a_piece(network.config)


def bytes_a_piece(config: NetworkConfig) -> int:
    """An estimate of what the products of one row and position take at once."""
    widths = 4 * config.hidden_dim + 6 * config.heads * config.head_width + 2 * config.mlp_dim + 12 * config.vocab_size
    return 4 * widths


def _exact(tensor: Tensor) -> Tensor:
    return tensor.detach().double()
