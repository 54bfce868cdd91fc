"""torch's plain loops as an engine: the reference of the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unembed.models.decoder.beam import beam_search
from unembed.models.decoder.engine import LIKELIHOOD_ROWS, Generated, generate, piece_log_probs
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.models.device import Device
from unembed.schemas import DecodeOptions


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

    def piece_log_probs(
        self,
        embeddings: Tensor | None,
        generated: Generated,
        owners: Tensor | None = None,
        rows: int = LIKELIHOOD_ROWS,
    ) -> Tensor:
        if embeddings is None:
            size = (len(generated.ids), self.network.config.embedding_dim)
            # What the network reads as no embedding
            embeddings, owners = torch.zeros(size, device=generated.ids.device), None
        with self.on.autocast():
            return piece_log_probs(self.network, embeddings, generated, owners, rows)
