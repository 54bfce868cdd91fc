"""Models of fastembed, which run in ONNX: smaller to install than torch, and it knows each model's pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unembed.errors import InputError, UnavailableError, first_line
from unembed.models.encoders.base import Adapter


class FastEmbed(Adapter):
    """The models that `TextEmbedding.list_supported_models()` lists; fetched once, into the cache of fastembed."""

    def __init__(self, name: str) -> None:
        """Raises InputError for a model that fastembed does not know, UnavailableError when it cannot be fetched."""
        from fastembed import TextEmbedding

        known = {str(one["model"]).lower(): one for one in TextEmbedding.list_supported_models()}
        if name.lower() not in known:
            raise InputError(f"fastembed knows no model {name!r}; there are: {', '.join(sorted(known))}")
        self._dim = int(known[name.lower()]["dim"])
        try:
            self._model: Any = TextEmbedding(name)
        except Exception as error:  # of onnxruntime, of requests, of the Hub
            raise UnavailableError(f"fastembed cannot fetch or read {name!r}: {first_line(error)}") from error

    @property
    def dim(self) -> int:
        return self._dim

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.stack(list(self._model.embed(list(texts)))).astype(np.float32)
