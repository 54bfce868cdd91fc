"""GenerativeDecoder: the decoder in a process, with no queue.

decoder = create_generative_decoder(embedding_dim=384)
decoder.decode(embedding)                  # "I like the sea."
decoder.batch_generate(embeddings)         # truly batched: one dictionary a row
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from unembed.errors import CheckpointError, DimensionError, MissingExtraError
from unembed.models.decoder.base import Answer, Candidate, Indices, TextDecoder
from unembed.models.decoder.catalog import SHIPPED
from unembed.models.decoder.checkpoint import (
    TOKENIZER_FILE,
    Checkpoint,
    checkpoint_folder,
    load_checkpoint,
    network_config,
    save_checkpoint,
)
from unembed.models.decoder.config import (
    BUDGETS,
    RET_V21,
    Architecture,
    CheckpointConfig,
    Defaults,
    NetworkConfig,
)
from unembed.models.decoder.device import Device, choose
from unembed.models.decoder.engine import log_likelihood
from unembed.models.decoder.manifold import Manifold
from unembed.models.decoder.quality import Evidence, Quality, assess, told
from unembed.models.decoder.rank import Ranked
from unembed.models.decoder.report import Tally
from unembed.models.decoder.ret import RET
from unembed.models.decoder.rounds import Searcher
from unembed.models.decoder.search import as_generated
from unembed.models.decoder.tokenizer import Tokenizer
from unembed.models.decoder.vectors import Vectors
from unembed.schemas import DEFAULT_DECODER, DecodeOptions, Precision, RowStatus, Wire


class UntrainedDecoderWarning(UserWarning):
    """A decoder with random weights was made; what it writes means nothing until it is trained."""


class GenerativeConfig(Wire):
    """What a GenerativeDecoder is made of."""

    architecture: Architecture = RET_V21
    embedding_dim: Annotated[int, Field(ge=1, le=65_536)] = 768
    target_parameters: Annotated[int, Field(ge=1)] | None = None  # a larger network is an error; None: `BUDGETS`
    checkpoint: str | None = None  # a decoder's name or folder; None: random weights
    device: str = "auto"
    precision: Precision = "auto"
    # None: the checkpoint's own defaults
    quality_floor: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    options: DecodeOptions | None = None

    @property
    def budget(self) -> int:
        return self.target_parameters or BUDGETS[self.architecture]


@dataclass(frozen=True)
class Decoded:
    """One row as it leaves the network: the best of its candidates."""

    text: str
    tokens: int
    evidence: Evidence
    quality: Quality
    candidates: tuple[Candidate, ...]  # the best first
    off_manifold: bool | None = None  # the vector is unlike any of a text; None: not known


class GenerativeDecoder(TextDecoder):
    """One network on one device. Not thread-safe: one decoder a thread."""

    def __init__(self, config: GenerativeConfig | None = None) -> None:
        """Raises BudgetError, DimensionError, UnknownDecoderError or CheckpointError."""
        self.config = config or GenerativeConfig()
        checkpoint = _checkpoint_for(self.config)
        checkpoint.config.network.check_budget(self.config.budget)
        self._take(checkpoint)

    @classmethod
    def load(cls, name_or_folder: str | Path, device: str = "auto", precision: Precision = "auto") -> GenerativeDecoder:
        """A trained decoder by name, or from a checkpoint's folder."""
        path = name_or_folder if isinstance(name_or_folder, str) else f"{name_or_folder}/"
        network = network_config(checkpoint_folder(path)).network  # the weights are read once, below
        return cls(
            GenerativeConfig(
                architecture=network.architecture,
                embedding_dim=network.embedding_dim,
                target_parameters=max(BUDGETS[network.architecture], network.parameters),
                checkpoint=path,
                device=device,
                precision=precision,
            )
        )

    def _take(self, checkpoint: Checkpoint) -> None:
        """Raises CheckpointError, and stays as it was, when the checkpoint fails its self-test."""
        device = choose(self.config.device, self.config.precision)
        network = checkpoint.network.to(device.torch_device).eval()
        if checkpoint.self_test is not None:
            checkpoint.self_test.run(checkpoint.config.name, network, checkpoint.tokenizer, device)
        self._device: Device = device
        self._checkpoint = checkpoint
        self._network: RET = network
        named = {name: getattr(self.config, name) for name in Defaults.model_fields}
        own = {name: value for name, value in named.items() if value is not None}
        self.defaults = checkpoint.config.defaults.model_copy(update=own)
        self._tally = Tally()
        self.score_ms = 0.0

    @property
    def name(self) -> str:
        return self._checkpoint.config.name

    @property
    def checkpoint(self) -> Checkpoint:
        return self._checkpoint

    @property
    def device(self) -> str:
        return self._device.name

    @property
    def precision(self) -> str:
        return self._device.precision

    @property
    def architecture(self) -> str:
        return self.config.architecture

    @property
    def trained(self) -> bool:
        return self.config.checkpoint is not None

    @property
    def embedding_dim(self) -> int:
        return self._checkpoint.config.network.embedding_dim

    @property
    def encoder(self) -> str | None:
        return self._checkpoint.config.encoder

    @property
    def manifold(self) -> Manifold | None:
        return self._checkpoint.manifold

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self._network.parameters())

    def peak_memory_bytes(self) -> int | None:
        return self._device.peak_memory_bytes()

    def off_manifold(self, vectors: Vectors) -> list[bool | None]:
        """Of each row of (N, D), whether it is unlike any vector of a text; None where that is not known."""
        return [None] * len(vectors) if self.manifold is None else self.manifold.off(vectors).tolist()

    def answer(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> list[Answer]:
        return [
            Answer(
                status=RowStatus.OK,
                source=self.name,
                text=one.text,
                tokens=one.tokens,
                quality=one.quality,
                round_trip=one.evidence.round_trip,
                off_manifold=one.off_manifold,
                candidates=one.candidates,
            )
            for one in self.decode_batch(vectors, indices, options, seed)
        ]

    def decode_batch(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> list[Decoded]:
        """Rows (N, D) with what was measured of them; the other methods are this one with a different answer."""
        begun = time.perf_counter()
        searcher = Searcher(self._checkpoint, self._network, self._device, self.encoder)
        searched = searcher.search(vectors, indices, options, seed)
        decoded = self._judged(searched.rows, self.off_manifold(vectors))
        score_seconds = time.perf_counter() - begun - searched.decode_seconds
        self.score_ms = score_seconds * 1000.0
        self._tally.add(
            [one.tokens for one in decoded],
            [told(one.quality, one.off_manifold).overall_quality for one in decoded],
            searched.decode_seconds,
            score_seconds,
            [one.off_manifold for one in decoded],
        )
        return decoded

    def _judged(self, ranked: list[Ranked], off: list[bool | None]) -> list[Decoded]:
        """The best of each row with its scores."""
        with self._device.autocast():
            generated = as_generated([row.best for row in ranked], self._device.torch_device)
            nothing = torch.zeros((len(ranked), self.embedding_dim), device=self._device.torch_device)
            lm_log_probs = log_likelihood(self._network, nothing, generated).tolist()
        config = self._checkpoint.config
        decoded = []
        for row, lm_log_prob, is_off in zip(ranked, lm_log_probs, off, strict=True):
            best = row.best
            evidence = Evidence(
                log_prob=best.log_prob / len(best.ids),
                lm_log_prob=lm_log_prob,
                least_log_prob=best.least_log_prob,
                pieces=len(best.ids),
                words=len(best.text.split()),
                diversity=best.diversity,
                truncated=best.truncated,
                round_trip=row.candidates[0].round_trip,
            )
            quality = assess(evidence, config.calibration, config.seen_calibration)
            decoded.append(Decoded(best.text, len(best.ids), evidence, quality, row.candidates, is_off))
        return decoded

    def get_performance_report(self) -> dict[str, Any]:
        """What was decoded since this decoder was made: counts, seconds, rates, and on what."""
        report = self._tally.report(self.defaults.quality_floor)
        return {
            "architecture": self.architecture,
            "decoder": self.name,
            "trained": self.trained,
            "parameters_used": self.parameters,
            "parameters_allowed": self.config.budget,
            "device": self.device,
            "precision": self.precision,
            **report,
            "off_manifold": report["off_manifold"] if self.manifold else None,
            "quality_passed": report["quality_passed"] if self.trained else 0,
            "peak_memory_bytes": self.peak_memory_bytes(),
        }

    def save_model(self, folder: str | Path) -> Path:
        """Saves model.safetensors, tokenizer.json, what else the checkpoint has, and config.json with the defaults."""
        config = self._checkpoint.config.model_copy(update={"defaults": self.defaults})
        save_checkpoint(Path(folder), replace(self._checkpoint, config=config))
        return Path(folder)

    def load_model(self, folder: str | Path) -> None:
        """Takes up another checkpoint of the same architecture, with its defaults.

        Raises CheckpointError, also for another architecture, BudgetError, or DimensionError if D is another.
        """
        checkpoint = load_checkpoint(Path(folder))
        network = checkpoint.config.network
        _check_kind(checkpoint, self.config, str(folder))
        if network.embedding_dim != self.config.embedding_dim:
            raise DimensionError.between(network.embedding_dim, self.config.embedding_dim, "this decoder")
        network.check_budget(self.config.budget)
        self._take(checkpoint)
        self.config = self.config.model_copy(update={"checkpoint": f"{folder}/"})


def _checkpoint_for(config: GenerativeConfig) -> Checkpoint:
    if config.checkpoint is not None:
        checkpoint = load_checkpoint(config.checkpoint)
        _check_kind(checkpoint, config, config.checkpoint)
        if checkpoint.config.network.embedding_dim != config.embedding_dim:
            raise DimensionError.between(
                config.embedding_dim, checkpoint.config.network.embedding_dim, f"the decoder {config.checkpoint!r}"
            )
        return checkpoint
    network = NetworkConfig.of(config.architecture, embedding_dim=config.embedding_dim)
    network.check_budget(config.budget)
    if not SHIPPED.is_dir():
        raise MissingExtraError.of("unembed_weights", "weights")
    warnings.warn(
        f"no trained decoder was asked for at {config.embedding_dim} dimensions: its weights are random and its texts "
        "mean nothing until it is trained (unembed train)",
        UntrainedDecoderWarning,
        stacklevel=4,
    )
    tokenizer = Tokenizer.load(SHIPPED / DEFAULT_DECODER / TOKENIZER_FILE).widened(network.vocab_size)
    with torch.random.fork_rng(devices=[]):  # the caller's own draws go on as if nothing had been drawn here
        torch.manual_seed(config.seed or 0)
        random = RET(network).eval()
    return Checkpoint(CheckpointConfig(name="untrained", network=network), random, tokenizer)


def _check_kind(checkpoint: Checkpoint, config: GenerativeConfig, name: str) -> None:
    found = checkpoint.config.architecture
    if found != config.architecture:
        raise CheckpointError(f"{name!r} holds a {found}; expected a {config.architecture}")
