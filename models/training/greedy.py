"""Greedy scores while a run is under way: a few rows of each dev set, decoded by the averaged weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unembed.models.decoder.engines import greedy
from unembed.models.decoder.ret import RET
from unembed.models.decoder.tokenizer import Tokenizer
from unembed.models.decoder.torch_engine import TorchEngine
from unembed.models.decoder.vectors import Vectors
from unembed.models.device import Device
from unembed.models.evaluation.scores import MICRO_BATCH, score
from unembed.models.training.recipe import DevScore
from unembed.schemas import GREEDY


@dataclass(frozen=True)
class HeldOut:
    texts: Sequence[str]  # (N,)
    embeddings: Vectors  # (N, E)


@dataclass(frozen=True)
class GreedyScorer:
    """Scores the first `rows` of each set; without round trips, which would take longer than all the rest."""

    tokenizer: Tokenizer
    sets: Mapping[str, HeldOut]
    rows: int

    def __call__(self, network: RET) -> dict[str, DevScore]:
        """By set. Raises MissingExtraError when sacrebleu is not installed."""
        if not self.rows:
            return {}
        return {name: self._score(network, one) for name, one in self.sets.items()}

    @torch.inference_mode()
    def _score(self, network: RET, held_out: HeldOut) -> DevScore:
        embeddings = torch.from_numpy(np.array(held_out.embeddings[: self.rows], dtype=np.float32))  # (N, E)
        texts: list[str] = []
        device = network.pieces.weight.device
        engine = TorchEngine(network, Device(device, torch.float32), "the weights change with every score")
        for part in torch.split(embeddings.to(device), MICRO_BATCH):
            texts += [self.tokenizer.decode(ids) for ids in greedy(engine, part, GREEDY).ids.tolist()]
        scores = score(texts, held_out.texts[: len(texts)], 1.0)
        return DevScore(scores.rows, scores.bleu, scores.word_f1, scores.exact)
