"""A fixed amount of decoding, for measuring: random weights, but real work on texts of known lengths."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.engine import Generated, generate, log_likelihood
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import END, Tokenizer
from unembed.models.device import Device
from unembed.schemas import GREEDY


@dataclass(frozen=True)
class OfLength(Sampler):
    """Chooses as ever, at the usual cost, but a row ends where its key says, and not before."""

    def choose(self, logits: Tensor, history: Tensor, keys: Tensor, position: int) -> Tensor:
        logits[:, END] = -torch.inf
        chosen = super().choose(logits, history, keys, position)  # (B,)
        return torch.where(keys == position + 1, END, chosen)


@dataclass(frozen=True)
class Workload:
    """A network and how long its texts are."""

    network: RET
    embeddings: Tensor  # (N, E)
    lengths: Tensor  # (N,) int64, END counted
    device: Device

    def decode(self, rows: slice) -> Generated:
        """What a worker does with a micro-batch, but for the reading of the pieces."""
        with self.device.autocast():
            sampler = OfLength(GREEDY, 0)
            limit = self.network.config.max_pieces  # what the cache is made for
            generated = generate(self.network, self.embeddings[rows], sampler, self.lengths[rows], limit)
            log_likelihood(self.network, torch.zeros_like(self.embeddings[rows]), generated)
        self.device.synchronize()
        return generated

    @property
    def typical(self) -> slice:
        """One row of median length."""
        row = int(self.lengths.argsort()[len(self.lengths) // 2])
        return slice(row, row + 1)

    def twin(self) -> Workload:
        return Workload(copy.deepcopy(self.network), self.embeddings, self.lengths, self.device)


def piece_lengths(config: NetworkConfig, texts: Sequence[str]) -> list[int]:
    """How many of the network's pieces each text takes, END counted."""
    tokenizer = Tokenizer.train(texts, config.vocab_size)
    return [min(len(ids) + 1, config.max_pieces) for ids in tokenizer.encode_many(texts)]


def workload(config: NetworkConfig, lengths: Sequence[int], device: Device) -> Workload:
    """A network with random weights, on `device`, and one row for each of the lengths."""
    place = device.torch_device
    with torch.random.fork_rng(devices=[]):  # the caller's own draws go on as if nothing had been drawn here
        torch.manual_seed(0)
        network = RET(config).eval().to(place)
        embeddings = torch.randn(len(lengths), config.embedding_dim).to(place)
    return Workload(network, embeddings, torch.tensor(lengths).to(place), device)
