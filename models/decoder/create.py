"""A decoder by its architecture, its name or its folder."""

from __future__ import annotations

from typing import Any

from models.decoder.catalog import find, names
from models.decoder.config import DEFAULT_BUDGET, NetworkConfig, check_architecture
from models.decoder.generative import GenerativeConfig, GenerativeDecoder


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
