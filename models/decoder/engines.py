"""Which engine decodes: the one in C++ where it can, otherwise torch's plain loops, which are its reference.

Both give the same: `tests/models/decoder/native` holds them to it, token by token in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unembed.errors import InputError
from unembed.models.decoder.beam import beam_search
from unembed.models.decoder.device import Device
from unembed.models.decoder.engine import LIKELIEST, Generated, generate, piece_log_probs
from unembed.models.decoder.folding import can_fold
from unembed.models.decoder.native_engine import NativeEngine
from unembed.models.decoder.native_library import find_native
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.schemas import DecodeOptions, EngineChoice


class Engine(Protocol):
    """Embeddings in, pieces out, on one device and in one precision. It knows nothing of text."""

    @property
    def name(self) -> str: ...

    @property
    def reason(self) -> str:
        """Why it is this one, for people."""

    @property
    def device(self) -> torch.device: ...

    @property
    def max_pieces(self) -> int:
        """The longest text that the network was trained on, END counted."""

    def generate(self, embeddings: Tensor, sampler: Sampler, keys: Tensor, max_pieces: int) -> Generated:
        """As `engine.generate`."""

    def beams(self, embeddings: Tensor, options: DecodeOptions, max_pieces: int) -> Generated:
        """As `beam.beam_search`."""

    def piece_log_probs(self, embeddings: Tensor | None, generated: Generated) -> Tensor:
        """As `engine.piece_log_probs`; None: none of the rows has an embedding."""


@dataclass(frozen=True)
class TorchEngine:
    """The plain loops, for any network on any device in any precision."""

    network: RET
    on: Device
    reason: str
    name: str = "torch"

    @property
    def device(self) -> torch.device:
        return self.on.torch_device

    @property
    def max_pieces(self) -> int:
        return self.network.config.max_pieces

    def generate(self, embeddings: Tensor, sampler: Sampler, keys: Tensor, max_pieces: int) -> Generated:
        with self.on.autocast():
            generated = generate(self.network, embeddings, sampler, keys, max_pieces)
            self.on.synchronize()
        return generated

    def beams(self, embeddings: Tensor, options: DecodeOptions, max_pieces: int) -> Generated:
        with self.on.autocast():
            generated = beam_search(self.network, embeddings, options, max_pieces)
            self.on.synchronize()
        return generated

    def piece_log_probs(self, embeddings: Tensor | None, generated: Generated) -> Tensor:
        if embeddings is None:
            size = (len(generated.ids), self.network.config.embedding_dim)
            embeddings = torch.zeros(size, device=generated.ids.device)  # what the network reads as no embedding
        with self.on.autocast():
            return piece_log_probs(self.network, embeddings, generated)


def engine_for(network: RET, device: Device, choice: EngineChoice = "auto") -> Engine:
    """The fastest that can decode with this network there. Raises InputError when "native" was asked for and cannot."""
    if choice == "torch":
        return TorchEngine(network, device, "it was asked for")
    if obstacle := _obstacle(network, device):
        if choice == "native":
            raise InputError(f"the engine is 'native', but {obstacle}; expected 'auto' or 'torch'")
        return TorchEngine(network, device, obstacle)
    native, reason = find_native(choice)
    if native is None:
        return TorchEngine(network, device, reason)
    return NativeEngine(native.library, network, device.dtype, native.isa, reason)


def _obstacle(network: RET, device: Device) -> str | None:
    """Why the engine in C++ cannot serve; None: it can."""
    if device.torch_device.type != "cpu":
        return f"the native engine runs on a CPU, and the device is {device.torch_device.type}"
    if device.dtype not in (torch.float32, torch.bfloat16):
        return f"the native engine has float32 and bfloat16, and the precision is {device.precision}"
    if not can_fold(network.config):
        return f"the native engine serves networks of one layer, and this one applies {network.config.depth}"
    return None


def greedy(engine: Engine, embeddings: Tensor, options: DecodeOptions = LIKELIEST) -> Generated:
    """The likeliest piece each time, after what these options forbid, for embeddings (N, E)."""
    keys = torch.zeros(len(embeddings), dtype=torch.int64, device=embeddings.device)  # nothing is drawn
    return engine.generate(embeddings, Sampler(options, 0), keys, engine.max_pieces)
