"""GenerativeDecoder: the decoder in a process, with no queue.

decoder = create_generative_decoder(embedding_dim=384)
decoder.decode(embedding)                  # "I like the sea."
decoder.batch_generate(embeddings)         # truly batched: one dictionary a row
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from models.decoder.catalog import SHIPPED, find, names, read_config
from models.decoder.checkpoint import TOKENIZER_FILE, Checkpoint, checkpoint_folder, load_checkpoint, save_checkpoint
from models.decoder.config import (
    DEFAULT_BUDGET,
    Architecture,
    CheckpointConfig,
    NetworkConfig,
    check_architecture,
)
from models.decoder.device import Device, choose
from models.decoder.encoder import cosines, shared_encoder
from models.decoder.engine import Generated, generate, log_likelihood
from models.decoder.quality import Evidence, Quality, assess, word_diversity
from models.decoder.ret import RET
from models.decoder.sampling import Sampler
from models.decoder.tokenizer import Tokenizer
from unembed.errors import DimensionError, InputError
from unembed.schemas import DEFAULT_DECODER, DecodeOptions, Generation, RowStatus, Wire

QUALITY_FLOOR: Final = 0.5  # overall_quality from which `quality_passed` is true: more likely faithful than not

Embeddings = npt.ArrayLike | Tensor


class UntrainedDecoderWarning(UserWarning):
    """A decoder with random weights was made; what it writes means nothing until it is trained."""


class GenerativeConfig(Wire):
    """What a GenerativeDecoder is made of."""

    architecture: Architecture = "resource_efficient_v21"
    embedding_dim: Annotated[int, Field(ge=1, le=65_536)] = 768
    target_parameters: Annotated[int, Field(ge=1)] = DEFAULT_BUDGET  # a larger network is an error
    checkpoint: str | None = None  # a decoder's name or folder; None: random weights
    device: str = "auto"
    quality_floor: Annotated[float, Field(ge=0.0, le=1.0)] = QUALITY_FLOOR
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    options: DecodeOptions = DecodeOptions()


@dataclass(frozen=True)
class Decoded:
    """One row as it leaves the network."""

    text: str
    tokens: int
    evidence: Evidence
    quality: Quality


@dataclass
class _Tally:
    """What `get_performance_report` sums up."""

    generations: int = 0
    tokens: int = 0
    decode_seconds: float = 0.0
    score_seconds: float = 0.0
    passed: int = 0
    qualities: list[float] = field(default_factory=list)


class GenerativeDecoder:
    """One network on one device. Not thread-safe: one decoder a thread."""

    def __init__(self, config: GenerativeConfig | None = None) -> None:
        """Raises BudgetError, DimensionError, UnknownDecoderError or CheckpointError."""
        self.config = config or GenerativeConfig()
        checkpoint = _checkpoint_for(self.config)
        checkpoint.config.network.check_budget(self.config.target_parameters)
        self._take(checkpoint)

    @classmethod
    def load(cls, name_or_folder: str | Path, device: str = "auto") -> GenerativeDecoder:
        """A trained decoder by name, or from a checkpoint's folder."""
        path = name_or_folder if isinstance(name_or_folder, str) else f"{name_or_folder}/"
        network = read_config(checkpoint_folder(path)).network  # the weights are read once, below
        return cls(
            GenerativeConfig(
                embedding_dim=network.embedding_dim,
                target_parameters=max(DEFAULT_BUDGET, network.parameters),
                checkpoint=path,
                device=device,
            )
        )

    def _take(self, checkpoint: Checkpoint) -> None:
        self._device: Device = choose(self.config.device)
        self._checkpoint = checkpoint
        self._network: RET = checkpoint.network.to(self._device.torch_device).eval()
        self._tally = _Tally()
        self.score_ms = 0.0  # of the last call, spent on scores

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
    def dtype(self) -> str:
        return self._device.dtype_name

    @property
    def trained(self) -> bool:
        return self.config.checkpoint is not None

    @property
    def embedding_dim(self) -> int:
        return self._checkpoint.config.network.embedding_dim

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self._network.parameters())

    def peak_memory_bytes(self) -> int | None:
        return self._device.peak_memory_bytes()

    def decode(self, embedding: Embeddings, **options: Any) -> str:
        """The text of one embedding (D,)."""
        return str(self.generate(embedding, **options)["text"])

    def generate(self, embedding: Embeddings, **options: Any) -> dict[str, Any]:
        """The text of one embedding (D,) with its scores; `options` are the fields of DecodeOptions, and `seed`."""
        vector = as_array(embedding)
        if vector.ndim != 1:
            raise InputError(f"expected one embedding of shape ({self.embedding_dim},), got shape {vector.shape}")
        return self.batch_generate(vector[None], **options)[0]

    def batch_generate(self, embeddings: Embeddings, **options: Any) -> list[dict[str, Any]]:
        """The texts of embeddings (N, D), decoded together, in their order.

        Raises InputError for NaN, infinity or zero vectors, naming the row, and DimensionError for a wrong D.
        """
        vectors = self._checked(as_array(embeddings))
        seed = int(options.pop("seed", self.config.seed))
        chosen = DecodeOptions.model_validate(self.config.options.model_dump() | options)
        begun = time.perf_counter()
        decoded = self.decode_batch(vectors, np.arange(len(vectors)), chosen, seed)
        seconds = time.perf_counter() - begun
        return [self._as_dict(one, seconds / max(1, len(vectors))) for one in decoded]

    def decode_rows(
        self, embeddings: npt.NDArray[np.float32], indices: Sequence[int], options: DecodeOptions, seed: int
    ) -> list[Generation]:
        """The rows (N, D) of a job; `indices` (N,) are their places in the corpus. Vectors must be finite, not zero."""
        begun = time.perf_counter()
        decoded = self.decode_batch(embeddings, np.asarray(indices, dtype=np.int64), options, seed)
        share_ms = (time.perf_counter() - begun) * 1000.0 / max(1, len(decoded))
        round_trips = self._round_trips(decoded, embeddings) if options.round_trip else [None] * len(decoded)
        return [
            Generation(
                index=index,
                text=one.text,
                status=RowStatus.OK,
                source=self.name,
                tokens=one.tokens,
                decode_ms=share_ms,
                round_trip=round_trip,
                **asdict(one.quality),
            )
            for index, one, round_trip in zip(indices, decoded, round_trips, strict=True)
        ]

    def _round_trips(self, decoded: list[Decoded], embeddings: npt.NDArray[np.float32]) -> list[float | None]:
        """Cosines of the decodings, embedded again, and the given vectors (N, D)."""
        encoder = self._checkpoint.config.encoder
        if encoder is None:
            raise InputError(f"round_trip needs an encoder, but the decoder {self.name!r} names none")
        begun = time.perf_counter()
        found = cosines(shared_encoder(encoder).encode([one.text for one in decoded]), embeddings)
        self.score_ms += (time.perf_counter() - begun) * 1000.0
        return [float(value) for value in found]

    def decode_batch(
        self, vectors: npt.NDArray[np.float32], indices: npt.NDArray[np.int64], options: DecodeOptions, seed: int
    ) -> list[Decoded]:
        """Rows (N, D) with what was measured of them; the other methods are this one with a different answer."""
        device = self._device
        embeddings = torch.from_numpy(np.require(vectors, np.float32, ("C", "W"))).to(device.torch_device)  # (N, E)
        rows = torch.from_numpy(indices).to(device.torch_device)  # (N,)
        limit = self._limit(options)
        begun = time.perf_counter()
        with device.autocast():
            generated = generate(self._network, embeddings, Sampler(options, seed), rows, limit)
            device.synchronize()
            decoded_at = time.perf_counter()
            lm_log_probs = log_likelihood(self._network, torch.zeros_like(embeddings), generated)
        decoded = self._read(generated, lm_log_probs)
        ended = time.perf_counter()
        self.score_ms = (ended - decoded_at) * 1000.0
        self._count(decoded, decoded_at - begun, ended - decoded_at)
        return decoded

    def _limit(self, options: DecodeOptions) -> int:
        longest = self._checkpoint.config.network.max_pieces
        return min(options.max_pieces or longest, longest)

    def _read(self, generated: Generated, lm_log_probs: Tensor) -> list[Decoded]:
        lengths = generated.lengths
        means = (generated.log_probs.sum(dim=1) / lengths.clamp_min(1)).tolist()
        least = generated.log_probs.min(dim=1).values.tolist()
        truncated = generated.truncated.tolist()
        calibration = self._checkpoint.config.calibration
        decoded = []
        for number, (ids, length) in enumerate(zip(generated.ids.tolist(), lengths.tolist(), strict=True)):
            text = self._checkpoint.tokenizer.decode(ids[:length])
            evidence = Evidence(
                log_prob=means[number],
                lm_log_prob=float(lm_log_probs[number]),
                least_log_prob=least[number],
                pieces=length,
                diversity=word_diversity(text),
                truncated=truncated[number],
            )
            decoded.append(Decoded(text, length, evidence, assess(evidence, calibration)))
        return decoded

    def _checked(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if vectors.ndim != 2:
            raise InputError(f"expected embeddings of shape (N, {self.embedding_dim}), got shape {vectors.shape}")
        if vectors.shape[1] != self.embedding_dim:
            raise DimensionError.between(vectors.shape[1], self.embedding_dim, f"the decoder {self.name!r}")
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            raise InputError(f"row {int(np.argmin(finite))} holds NaN or infinity; expected finite numbers")
        zero = ~vectors.any(axis=1)
        if zero.any():
            raise InputError(f"row {int(np.argmax(zero))} is a zero vector; expected a direction")
        return vectors

    def _as_dict(self, one: Decoded, seconds: float) -> dict[str, Any]:
        overall = one.quality.overall_quality
        return {
            "text": one.text,
            "tokens": one.tokens,
            "quality_metrics": asdict(one.quality),
            "generation_time": seconds,
            "memory": self.peak_memory_bytes(),
            "quality_passed": self.trained and overall is not None and overall >= self.config.quality_floor,
            "parameters_used": self.parameters,
            "architecture": self.config.architecture,
            "source": self.name,
            "trained": self.trained,
        }

    def _count(self, decoded: list[Decoded], decode_seconds: float, score_seconds: float) -> None:
        tally = self._tally
        tally.generations += len(decoded)
        tally.tokens += sum(one.tokens for one in decoded)
        tally.decode_seconds += decode_seconds
        tally.score_seconds += score_seconds
        known = [one.quality.overall_quality for one in decoded if one.quality.overall_quality is not None]
        tally.qualities.extend(known)
        tally.passed += sum(quality >= self.config.quality_floor for quality in known) if self.trained else 0

    def get_performance_report(self) -> dict[str, Any]:
        """What was decoded since this decoder was made: counts, seconds, rates, and on what."""
        tally = self._tally
        seconds = tally.decode_seconds + tally.score_seconds
        return {
            "architecture": self.config.architecture,
            "decoder": self.name,
            "trained": self.trained,
            "parameters_used": self.parameters,
            "parameters_allowed": self.config.target_parameters,
            "device": self.device,
            "dtype": self.dtype,
            "generations": tally.generations,
            "tokens": tally.tokens,
            "decode_seconds": tally.decode_seconds,
            "score_seconds": tally.score_seconds,
            "generations_per_second": tally.generations / seconds if seconds else None,
            "mean_overall_quality": float(np.mean(tally.qualities)) if tally.qualities else None,
            "quality_passed": tally.passed,
            "peak_memory_bytes": self.peak_memory_bytes(),
        }

    def save_model(self, folder: str | Path) -> Path:
        """Saves the checkpoint: model.safetensors, config.json, tokenizer.json."""
        save_checkpoint(Path(folder), self._checkpoint)
        return Path(folder)

    def load_model(self, folder: str | Path) -> None:
        """Takes up another checkpoint. Raises CheckpointError, BudgetError, or DimensionError if D is another."""
        checkpoint = load_checkpoint(Path(folder))
        network = checkpoint.config.network
        if network.embedding_dim != self.config.embedding_dim:
            raise DimensionError.between(network.embedding_dim, self.config.embedding_dim, "this decoder")
        network.check_budget(self.config.target_parameters)
        self.config = self.config.model_copy(update={"checkpoint": f"{folder}/"})
        self._take(checkpoint)


def create_generative_decoder(
    architecture: str = "resource_efficient_v21",
    embedding_dim: int = 768,
    target_parameters: int = DEFAULT_BUDGET,
    *,
    checkpoint: str | None = "auto",
    **config: Any,
) -> GenerativeDecoder:
    """A decoder for embeddings of this dimension.

    `checkpoint` is a decoder's name, a folder, None for random weights, or "auto": the shipped decoder of this
    dimension if there is one, else random weights, with an UntrainedDecoderWarning.
    Raises UnknownArchitectureError, listing those there are, and BudgetError, naming both numbers.
    """
    check_architecture(architecture)
    NetworkConfig(embedding_dim=embedding_dim).check_budget(target_parameters)
    if checkpoint == "auto":
        checkpoint = _shipped_for(embedding_dim)
    return GenerativeDecoder(
        GenerativeConfig.model_validate(
            {
                "architecture": architecture,
                "embedding_dim": embedding_dim,
                "target_parameters": target_parameters,
                "checkpoint": checkpoint,
                **config,
            }
        )
    )


def _shipped_for(embedding_dim: int) -> str | None:
    return next((name for name in names() if find(name).embedding_dim == embedding_dim), None)


def _checkpoint_for(config: GenerativeConfig) -> Checkpoint:
    if config.checkpoint is not None:
        checkpoint = load_checkpoint(config.checkpoint)
        if checkpoint.config.network.embedding_dim != config.embedding_dim:
            raise DimensionError.between(
                config.embedding_dim, checkpoint.config.network.embedding_dim, f"the decoder {config.checkpoint!r}"
            )
        return checkpoint
    network = NetworkConfig(architecture=config.architecture, embedding_dim=config.embedding_dim)
    network.check_budget(config.target_parameters)
    warnings.warn(
        f"no trained decoder was asked for at {config.embedding_dim} dimensions: its weights are random and its texts "
        "mean nothing until it is trained (unembed train)",
        UntrainedDecoderWarning,
        stacklevel=4,
    )
    torch.manual_seed(config.seed)
    tokenizer = Tokenizer.load(SHIPPED / DEFAULT_DECODER / TOKENIZER_FILE)
    return Checkpoint(CheckpointConfig(name="untrained", network=network), RET(network).eval(), tokenizer)


def as_array(embeddings: Embeddings) -> npt.NDArray[np.float32]:
    """Float32 numbers of any array-like. Raises InputError for ragged, object, integer or boolean data."""
    if isinstance(embeddings, Tensor):
        embeddings = embeddings.detach().to("cpu", torch.float32).numpy()
    try:
        array = np.asarray(embeddings)
    except ValueError:
        raise InputError("the embeddings are ragged; expected rows of one length") from None
    if array.dtype.kind != "f":
        raise InputError(f"the embeddings have dtype {array.dtype}; expected floating-point numbers")
    return np.ascontiguousarray(array, dtype=np.float32)
