"""The decoder: RET v2.1, its checkpoints, its training.

    from models.decoder import create_generative_decoder

Imported when asked for, because `models.decoder.catalog`, which the API reads, has to stay free of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.decoder.generative import (
        GenerativeConfig,
        GenerativeDecoder,
        UntrainedDecoderWarning,
        create_generative_decoder,
    )

__all__ = ["GenerativeConfig", "GenerativeDecoder", "UntrainedDecoderWarning", "create_generative_decoder"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("models.decoder.generative"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
