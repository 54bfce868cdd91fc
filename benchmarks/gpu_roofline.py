"""What a GPU could do at most with this network: ceilings that are measured at its shapes, and the work of a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

import torch

from unembed.models.decoder.config import NetworkConfig
from unembed.models.device import Device

_COPIED: Final = 256 * 1024**2  # bytes: more than any cache on the chip
_COPIED_ON_CPU: Final = 4 * 1024**2
_AT_ONCE: Final = 128  # launches that are timed together, so that launching one is hidden behind the last

Timer = Callable[[Callable[[], object], int], list[float]]  # the seconds of each of so many runs


@dataclass(frozen=True)
class Work:
    """What one row needs, all its steps together."""

    flop: float  # of products, two a multiplication
    moved: float  # bytes that are read and written for this row alone; weights are shared by many


@dataclass(frozen=True)
class Ceilings:
    """The fastest of what was measured."""

    flop_a_second: float
    bytes_a_second: float
    products: dict[str, float]  # FLOP/s of each shape

    def rows_a_second(self, work: Work) -> float:
        """Where products and memory overlap perfectly and nothing else costs anything."""
        return 1.0 / max(work.flop / self.flop_a_second, work.moved / self.bytes_a_second)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def shapes(config: NetworkConfig) -> dict[str, tuple[int, int]]:
    """(in, out) of the products of a step; the first layer's queries, keys and values are looked up."""
    attention = config.heads * config.head_width
    return {
        "out": (attention, config.hidden_dim),
        "up": (config.hidden_dim, config.mlp_dim),
        "down": (config.mlp_dim, config.hidden_dim),
        "logits": (config.hidden_dim, config.vocab_size),
    }


def work_of(config: NetworkConfig, dtype: torch.dtype, pieces: float) -> Work:
    """Of the folded network and a row of so many pieces."""
    attention, size = config.heads * config.head_width, torch.finfo(dtype).bits // 8
    layer = attention * config.hidden_dim + 2 * config.hidden_dim * config.mlp_dim
    later = (config.depth - 1) * 3 * config.hidden_dim * attention
    once = config.embedding_dim * (config.hidden_dim + config.gated_units) + 3 * attention * config.hidden_dim
    step = config.depth * layer + later + config.hidden_dim * config.vocab_size
    looked_at = config.depth * pieces * (pieces + 1) / 2  # keys, all steps together
    products = once + pieces * step + 2 * attention * looked_at
    # A step reads its row of the corpus and what it makes for the first layer, and writes a key and a value.
    beside = pieces * (
        4 * config.hidden_dim + size * (3 * attention + config.gated_units + 2 * config.depth * attention)
    )
    return Work(flop=2 * products, moved=2 * attention * size * looked_at + beside)


def ceilings(config: NetworkConfig, device: Device, timer: Timer, rows: int) -> Ceilings:
    """Measured with batches of `rows`."""
    products = {name: _product(device, timer, rows, *shape) for name, shape in shapes(config).items()}
    return Ceilings(max(products.values()), _bandwidth(device, timer), products)


def _product(device: Device, timer: Timer, rows: int, inner: int, outer: int) -> float:
    given = torch.randn(rows, inner, device=device.torch_device).to(device.dtype)
    weight = torch.randn(inner, outer, device=device.torch_device).to(device.dtype)
    found = torch.empty(rows, outer, device=device.torch_device, dtype=device.dtype)
    times = _launches(device)

    def work() -> None:
        for _ in range(times):
            torch.mm(given, weight, out=found)

    return 2.0 * rows * inner * outer * times / median(timer(work, 3))


def _bandwidth(device: Device, timer: Timer) -> float:
    size = _COPIED if device.torch_device.type == "cuda" else _COPIED_ON_CPU
    source = torch.zeros(size, dtype=torch.uint8, device=device.torch_device)
    target = torch.empty_like(source)
    times = _launches(device)

    def work() -> None:
        for _ in range(times):
            target.copy_(source)

    return 2.0 * size * times / median(timer(work, 3))


def _launches(device: Device) -> int:
    return _AT_ONCE if device.torch_device.type == "cuda" else 1
