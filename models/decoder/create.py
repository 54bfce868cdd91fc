"""A decoder by its name, its folder or its architecture; which class it is, its config.json says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unembed.errors import CheckpointError, DimensionError, InputError
from unembed.models.decoder.base import TextDecoder
from unembed.models.decoder.catalog import find, names, read_config
from unembed.models.decoder.checkpoint import checkpoint_folder
from unembed.models.decoder.config import BUDGETS, HYBRID, PHRASE_BANK, RET_V21, NetworkConfig, check_architecture
from unembed.models.decoder.generative import GenerativeConfig, GenerativeDecoder
from unembed.models.decoder.graph_engine import GPU_MEMORY
from unembed.models.decoder.hybrid import HybridDecoder
from unembed.models.decoder.phrase_bank import PhraseBankDecoder
from unembed.schemas import DEFAULT_DECODER, EngineChoice, Precision


def load_decoder(
    name_or_folder: str | Path,
    device: str = "auto",
    precision: Precision = "auto",
    engine: EngineChoice = "auto",
    gpu_memory: int = GPU_MEMORY,
) -> TextDecoder:
    """A decoder of whatever architecture, by name or from its folder; `gpu_memory` is in bytes.

    Raises UnknownDecoderError for a name that is not known, CheckpointError for a folder that is no checkpoint.
    """
    architecture = read_config(checkpoint_folder(name_or_folder)).architecture
    if architecture == PHRASE_BANK:
        return PhraseBankDecoder.load(name_or_folder, device)
    if architecture == HYBRID:
        return HybridDecoder.load(name_or_folder, device, precision, engine, gpu_memory)
    return GenerativeDecoder.load(name_or_folder, device, precision, engine, gpu_memory)


def create_generative_decoder(
    architecture: str = RET_V21,
    embedding_dim: int = 768,
    target_parameters: int | None = None,
    *,
    checkpoint: str | Path | None = "auto",
    **config: Any,
) -> TextDecoder:
    """A decoder for embeddings of this dimension.

    `checkpoint` is a decoder's name, a folder, None for random weights, or "auto": the shipped decoder of this
    architecture and dimension if there is one (of several, the default decoder), else random weights, with an
    UntrainedDecoderWarning.
    `target_parameters` is how large the network may be; None: what its architecture is allowed (`BUDGETS`). A phrase
    bank and a hybrid have to be named; of `config` they take `device`, `precision`, `engine`
    and `gpu_memory`.
    Raises UnknownArchitectureError, listing those there are, CheckpointError when the checkpoint is of another
    architecture, and BudgetError, naming both numbers.
    """
    check_architecture(architecture)
    if architecture in (PHRASE_BANK, HYBRID):
        return _by_name(architecture, embedding_dim, checkpoint, **config)
    network = NetworkConfig.of(architecture, embedding_dim=embedding_dim)
    network.check_budget(target_parameters or BUDGETS[architecture])
    if checkpoint == "auto":
        checkpoint = _shipped_for(architecture, embedding_dim)
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


def _by_name(
    architecture: str,
    embedding_dim: int,
    checkpoint: str | Path | None,
    device: str = "auto",
    precision: Precision = "auto",
    engine: EngineChoice = "auto",
    gpu_memory: int = GPU_MEMORY,
) -> TextDecoder:
    if checkpoint in (None, "auto"):
        raise InputError(
            f"a {architecture} is made of your own texts and none ships; expected a checkpoint's name or folder"
        )
    assert checkpoint is not None, "it was refused above"
    decoder = load_decoder(checkpoint, device, precision, engine, gpu_memory)
    if decoder.architecture != architecture:
        raise CheckpointError(f"{str(checkpoint)!r} holds a {decoder.architecture}; expected a {architecture}")
    if decoder.embedding_dim != embedding_dim:
        raise DimensionError.between(embedding_dim, decoder.embedding_dim, f"the decoder {str(checkpoint)!r}")
    return decoder


def _shipped_for(architecture: str, embedding_dim: int) -> str | None:
    found = [find(name) for name in names()]
    fitting = [one.name for one in found if (one.architecture, one.embedding_dim) == (architecture, embedding_dim)]
    return DEFAULT_DECODER if DEFAULT_DECODER in fitting else next(iter(fitting), None)
