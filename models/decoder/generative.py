"""GenerativeDecoder: the decoder in a process, with no queue.

decoder = create_generative_decoder(embedding_dim=384)
decoder.decode(embedding)                  # "I like the sea."
decoder.batch_generate(embeddings)         # truly batched: one dictionary a row
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pydantic import Field

from unembed.errors import CheckpointError, DimensionError, MissingExtraError
from unembed.generations import from_columns, where, with_column
from unembed.models.decoder.base import SCORES, Answered, DecoderDescription, TextDecoder
from unembed.models.decoder.beside import Beside
from unembed.models.decoder.candidates import Candidates
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
from unembed.models.decoder.editors import editor_for
from unembed.models.decoder.edits import Editor
from unembed.models.decoder.engines import Engine, engine_for
from unembed.models.decoder.evidence import evidence_of
from unembed.models.decoder.explanation import Explanation, pieces_of
from unembed.models.decoder.graph_engine import GPU_MEMORY
from unembed.models.decoder.manifold import Manifold
from unembed.models.decoder.quality import UNSCORED, Evidence, Quality, assess
from unembed.models.decoder.rank import Ranked, ranking
from unembed.models.decoder.report import DecodeStatistics
from unembed.models.decoder.ret import RET
from unembed.models.decoder.rounds import Searcher
from unembed.models.decoder.tokenizer import Tokenizer
from unembed.models.decoder.vectors import Indices, Vectors
from unembed.models.device import Device, choose
from unembed.schemas import DEFAULT_DECODER, DecodeOptions, EngineChoice, Precision, RowStatus, Wire


class UntrainedDecoderWarning(UserWarning):
    """A decoder with random weights was made; what it writes means nothing until it is trained."""


class GenerativeConfig(Wire):
    """What a GenerativeDecoder is made of."""

    architecture: Architecture = RET_V21
    embedding_dim: Annotated[int, Field(ge=1, le=65_536)] = 768
    target_parameters: Annotated[int, Field(ge=1)] | None = None  # a larger network is an error; None: `BUDGETS`
    checkpoint: str | Path | None = None  # a decoder's name, or its folder as a Path; None: random
    device: str = "auto"
    precision: Precision = "auto"
    engine: EngineChoice = "auto"
    gpu_memory: Annotated[int, Field(ge=0)] = GPU_MEMORY  # what rows may take on a GPU, in bytes
    # None: the checkpoint's own defaults
    quality_floor: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    options: DecodeOptions | None = None

    @property
    def budget(self) -> int:
        return self.target_parameters or BUDGETS[self.architecture]


@dataclass(frozen=True)
class Scored:
    """N rows as they leave the network: the best of their candidates, and what was measured of it."""

    ranked: Ranked
    measured: Evidence | None  # None: the scores were not asked for
    quality: Quality
    decode_ms: float  # in the network
    score_ms: float  # ranking and scores

    @property
    def evidence(self) -> Evidence:
        """Raises ValueError when the scores were not asked for."""
        if self.measured is None:
            raise ValueError("these rows were decoded with scores 'none', so nothing was measured; expected 'all'")
        return self.measured

    @cached_property
    def best(self) -> Candidates:
        return self.ranked.best

    @property
    def texts(self) -> tuple[str, ...]:
        return self.best.texts


class GenerativeDecoder(TextDecoder):
    """One network on one device. Not thread-safe: one decoder a thread."""

    def __init__(self, config: GenerativeConfig | None = None) -> None:
        """Raises BudgetError, DimensionError, UnknownDecoderError or CheckpointError."""
        self.config = config or GenerativeConfig()
        checkpoint = _checkpoint_for(self.config)
        checkpoint.config.network.check_budget(self.config.budget)
        self._take(checkpoint, trained=self.config.checkpoint is not None)

    @classmethod
    def load(
        cls,
        name_or_folder: str | Path,
        device: str = "auto",
        precision: Precision = "auto",
        engine: EngineChoice = "auto",
        gpu_memory: int = GPU_MEMORY,
    ) -> GenerativeDecoder:
        """A trained decoder by name, or from a checkpoint's folder (a Path)."""
        network = network_config(checkpoint_folder(name_or_folder)).network  # the weights are read once, below
        return cls(
            GenerativeConfig(
                architecture=network.architecture,
                embedding_dim=network.embedding_dim,
                target_parameters=max(BUDGETS[network.architecture], network.parameters),
                checkpoint=name_or_folder,
                device=device,
                precision=precision,
                engine=engine,
                gpu_memory=gpu_memory,
            )
        )

    def _take(self, checkpoint: Checkpoint, *, trained: bool) -> None:
        """Raises CheckpointError, and stays as it was, when the checkpoint fails its self-test."""
        device = choose(self.config.device, self.config.precision)
        network = checkpoint.network.to(device.torch_device).eval()
        engine = engine_for(network, device, self.config.engine, self.config.gpu_memory)
        if checkpoint.self_test is not None:
            checkpoint.self_test.run(checkpoint.config.name, engine, checkpoint.tokenizer, device)
        self._device: Device = device
        self._checkpoint = checkpoint
        self._engine: Engine = engine
        self._editor: Editor | None = None
        if checkpoint.sketch is not None:
            self._editor = editor_for(checkpoint.sketch, self.config.engine)
        named = {name: getattr(self.config, name) for name in Defaults.model_fields}
        own = {name: value for name, value in named.items() if value is not None}
        self.defaults = checkpoint.config.defaults.model_copy(update=own)
        self._statistics = DecodeStatistics()
        self.description = DecoderDescription(
            name=checkpoint.config.name,
            architecture=self.config.architecture,
            embedding_dim=checkpoint.config.network.embedding_dim,
            encoder=checkpoint.config.encoder,
            device=device.name,
            precision=device.precision,
            engine=engine.name,
            trained=trained,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
        )

    @property
    def checkpoint(self) -> Checkpoint:
        return self._checkpoint

    @property
    def manifold(self) -> Manifold | None:
        return self._checkpoint.manifold

    def peak_memory_bytes(self) -> int | None:
        return self._device.peak_memory_bytes()

    def off_manifold(self, vectors: Vectors) -> npt.NDArray[np.bool_] | None:
        """(N,): whether each of (N, D) is unlike the vector of any text; None where that is not known."""
        return None if self.manifold is None else self.manifold.off(vectors)

    def raw_answer(
        self,
        vectors: Vectors,
        indices: Indices,
        options: DecodeOptions,
        seed: int,
        beside: Beside | None = None,
    ) -> Answered:
        """`beside` are phrases of a bank: where one of them is the best text, the row says so, and has no scores but
        its cosine, for those were calibrated on the network's texts."""
        scored = self.decode_batch(vectors, indices, options, seed, beside)
        rows = from_columns(
            indices,
            text=scored.texts,
            status=RowStatus.OK,
            source=self.name,
            tokens=scored.best.lengths,
            round_trip=scored.ranked.best_round_trips,
            off_manifold=self.off_manifold(vectors),
            **{name: getattr(scored.quality, name) for name in SCORES},
        )
        if beside is not None:
            rows = where(scored.ranked.best_borrowed, _borrowed(rows, beside), rows)
        bank = beside.bank if beside is not None else ""
        answered = Answered(
            rows, scored.decode_ms, scored.score_ms, candidates=lambda row: scored.ranked.listed(row, self.name, bank)
        )
        self._statistics.add(answered)
        return answered

    def explain(self, vector: Vectors, index: int, options: DecodeOptions, seed: int) -> Explanation:
        scored = self.decode_batch(vector[None], np.array([index], dtype=np.int64), options, seed)
        return Explanation(
            scored.ranked.listed(0, self.name), pieces_of(scored.ranked.best.pieces, 0, self._checkpoint.tokenizer)
        )

    def borrows(self, options: DecodeOptions) -> bool:
        """Whether phrases beside its texts are ranked with them: by a sketch, they are."""
        return ranking(options, sketched=self._checkpoint.sketch is not None) == "sketch"

    def decode_batch(
        self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int, beside: Beside | None = None
    ) -> Scored:
        """Rows (N, D) with what was measured of them; the other methods are this one with a different answer."""
        begun = time.perf_counter()
        searcher = Searcher(self._checkpoint, self._engine, self.encoder, self._device.precision, self._editor)
        searched = searcher.search(vectors, indices, options, seed, beside)
        evidence = None
        if options.scores == "all":
            evidence = evidence_of(searched.ranked, vectors, self._engine, self._checkpoint.sketch)
        config = self._checkpoint.config
        quality = assess(evidence, config.calibration, config.seen_calibration) if evidence else UNSCORED
        score_ms = (time.perf_counter() - begun - searched.decode_seconds) * 1000.0
        return Scored(searched.ranked, evidence, quality, searched.decode_seconds * 1000.0, score_ms)

    def get_performance_report(self) -> dict[str, Any]:
        """What was decoded since this decoder was made: counts, seconds, rates, and on what."""
        report = self._statistics.report(self.defaults.quality_floor)
        return {
            "architecture": self.architecture,
            "decoder": self.name,
            "trained": self.trained,
            "parameters_used": self.parameters,
            "parameters_allowed": self.config.budget,
            "device": self.device,
            "precision": self.precision,
            "engine": self.engine,
            "engine_reason": self._engine.reason,
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
        self._take(checkpoint, trained=True)
        self.config = self.config.model_copy(update={"checkpoint": Path(folder)})


def _borrowed(rows: pa.RecordBatch, beside: Beside) -> pa.RecordBatch:
    """The rows as if a phrase beside them answered each; of no meaning where their text is none."""
    places = beside.places
    pairs = enumerate(rows["text"].to_pylist())
    cosines = [beside.cosines[places[pair]] if pair in places else np.nan for pair in pairs]
    for name in (*SCORES, "tokens"):
        if name != "diversity":
            rows = with_column(rows, name, None)
    rows = with_column(rows, "round_trip", np.asarray(cosines))
    return with_column(with_column(rows, "status", RowStatus.FALLBACK), "source", beside.bank)


def _checkpoint_for(config: GenerativeConfig) -> Checkpoint:
    if config.checkpoint is not None:
        checkpoint = load_checkpoint(config.checkpoint)
        _check_kind(checkpoint, config, str(config.checkpoint))
        if checkpoint.config.network.embedding_dim != config.embedding_dim:
            raise DimensionError.between(
                config.embedding_dim, checkpoint.config.network.embedding_dim, f"the decoder {str(config.checkpoint)!r}"
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
