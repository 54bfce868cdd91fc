"""The decoder: RET v2.1, its checkpoints, its training.

    from models.decoder import create_generative_decoder

Imported when asked for, because `models.decoder.catalog`, which the API reads, has to stay free of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.decoder.create import create_generative_decoder
    from models.decoder.generative import GenerativeConfig, GenerativeDecoder, UntrainedDecoderWarning

__all__ = ["GenerativeConfig", "GenerativeDecoder", "UntrainedDecoderWarning", "create_generative_decoder"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "create" if name == "create_generative_decoder" else "generative"
    return getattr(import_module(f"models.decoder.{module}"), name)
