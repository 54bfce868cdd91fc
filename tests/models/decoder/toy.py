"""A network small enough to be trained while a test waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from unembed.models.decoder import rank
from unembed.models.decoder.checkpoint import Checkpoint, save_checkpoint
from unembed.models.decoder.config import CheckpointConfig, NetworkConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sketch import Fit, Sketch, packed
from unembed.models.decoder.tokenizer import Tokenizer
from unembed.models.decoder.words import split
from unembed.models.training.data import Pairs, pair
from unembed.models.training.recipe import Recipe

DIM = 16
TEXTS = [
    f"{subject} {verb} the {thing}."
    for subject in ("I", "Tom", "She", "We")
    for verb in ("see", "like", "sold")
    for thing in ("sea", "red car", "old house")
]
RECIPE = Recipe(epochs=60, batch_pieces=256, warmup_steps=5, average_decay=0.9, seed=3)


def vectors(count: int = len(TEXTS), dim: int = DIM, seed: int = 0) -> npt.NDArray[np.float32]:
    """Unit vectors (count, dim)."""
    drawn = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, vocab_size=48)


def config(**changes: int) -> NetworkConfig:
    numbers = {"embedding_dim": DIM, "hidden_dim": 32, "heads": 2, "mlp_dim": 48, "vocab_size": 48, "max_pieces": 32}
    return NetworkConfig.model_validate(numbers | changes)


def pairs() -> Pairs:
    return pair(TEXTS, vectors(), tokenizer(), 32)[0]


def random_network(seed: int = 0, **changes: int) -> RET:
    """Random weights; the zeroed projections are filled too, so that the layer does something."""
    torch.manual_seed(seed)
    network = RET(config(**changes)).eval()
    for layer in network.layers:
        for projection in (layer.out, layer.down):
            torch.nn.init.normal_(projection.weight, std=0.2)
    if network.gate is not None:
        torch.nn.init.normal_(network.gate.weight, std=0.2)
    return network


def random_checkpoint(folder: Path, name: str = "toy") -> Path:
    """A checkpoint folder with an untrained toy network."""
    save_checkpoint(folder, Checkpoint(CheckpointConfig(name=name, network=config()), random_network(), tokenizer()))
    return folder


def sketch_of_words(seed: int = 0) -> Sketch:
    """Of the words of TEXTS and "my", each a direction of its own in DIM dimensions; judged as it is."""
    spelled = {word.surface for text in TEXTS for word in split(text)} | {"my"}
    words = ("^", "$", *sorted({word if word in ("Tom", "I") else word.lower() for word in spelled}))
    table = vectors(len(words), DIM, seed)
    table[:2] = 0.0  # the ends say nothing
    rows, scales = packed(table)
    eye = np.eye(DIM, dtype=np.float16)
    priors = np.full(len(words), -2.0, dtype=np.float16)
    none = np.zeros((0, 2), dtype=np.int32)
    return Sketch(words, none, rows, scales, eye, eye, priors, Fit(texts=36, ridge=1.0, held_out=9, cosine=1.0))


def sketched_checkpoint(folder: Path, name: str = "toy") -> Path:
    """The same as `random_checkpoint`, with a sketch."""
    config_ = CheckpointConfig(name=name, network=config())
    save_checkpoint(folder, Checkpoint(config_, random_network(), tokenizer(), sketch=sketch_of_words()))
    return folder


def embed_with(monkeypatch: pytest.MonkeyPatch, encoder: Any) -> None:
    """Lets each decoder name an encoder, "toy", which is installed, and is this one."""
    monkeypatch.setattr(rank, "shared_encoder", lambda name, precision: encoder)
    monkeypatch.setattr(rank, "why_not", lambda name: None)
    monkeypatch.setattr(GenerativeDecoder, "encoder", property(lambda self: "toy"))


def small_network(of: Callable[..., NetworkConfig]) -> Callable[..., NetworkConfig]:
    """`NetworkConfig.of`, but small."""

    def small(architecture: str = "resource_efficient_v21", **numbers: int) -> NetworkConfig:
        narrow = {"head_dim": 8} if architecture == "resource_efficient_v2" else {}
        return of(architecture, **({"hidden_dim": 32, "mlp_dim": 48} | narrow | numbers))

    return small
