"""The decoder: RET v2.1, its checkpoints, its training.

    from unembed.models.decoder import create_generative_decoder

Imported when asked for, because `unembed.models.decoder.catalog`, which the API reads, has to stay free of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from unembed.models.decoder.create import create_generative_decoder, load_decoder
    from unembed.models.decoder.generative import GenerativeConfig, GenerativeDecoder, UntrainedDecoderWarning
    from unembed.models.decoder.hybrid import HybridDecoder
    from unembed.models.decoder.phrase_bank import Bank, PhraseBankDecoder

_HOMES: Final = {
    "Bank": "phrase_bank",
    "GenerativeConfig": "generative",
    "GenerativeDecoder": "generative",
    "HybridDecoder": "hybrid",
    "PhraseBankDecoder": "phrase_bank",
    "UntrainedDecoderWarning": "generative",
    "create_generative_decoder": "create",
    "load_decoder": "create",
}
__all__ = [
    "Bank",
    "GenerativeConfig",
    "GenerativeDecoder",
    "HybridDecoder",
    "PhraseBankDecoder",
    "UntrainedDecoderWarning",
    "create_generative_decoder",
    "load_decoder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"unembed.models.decoder.{_HOMES[name]}"), name)
