"""Which engine decodes: the one in C++ where it can, otherwise torch's plain loops, which are its reference.

Both give the same: `tests/models/decoder/native` holds them to it, token by token in float32.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from unembed.errors import InputError
from unembed.models.decoder.engine import LIKELIEST, Generated
from unembed.models.decoder.folding import can_fold
from unembed.models.decoder.graph_engine import GPU_MEMORY, tried
from unembed.models.decoder.native_engine import NativeEngine
from unembed.models.decoder.native_library import find_native
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.torch_engine import TorchEngine
from unembed.models.device import Device
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

    def piece_log_probs(self, embeddings: Tensor | None, generated: Generated, owners: Tensor | None = None) -> Tensor:
        """As `engine.piece_log_probs`; None: none of the texts has an embedding."""


def engine_for(network: RET, device: Device, choice: EngineChoice = "auto", gpu_memory: int = GPU_MEMORY) -> Engine:
    """The fastest that can decode with this network there. Raises InputError when "native" was asked for and cannot.

    `gpu_memory` is what rows may take on a GPU, in bytes.
    """
    if choice == "torch":
        return TorchEngine(network, device, "it was asked for")
    if choice == "auto" and device.torch_device.type == "cuda":
        graph, reason = tried(network, device, gpu_memory)
        return graph or TorchEngine(network, device, reason)
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
