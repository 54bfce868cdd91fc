"""Models of model2vec: each word piece has a vector, and a text is the mean of its own. No network, so very fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unembed.errors import CheckpointError, first_line
from unembed.models.encoders.base import Adapter
from unembed.models.encoders.folders import Located, require_safetensors
from unembed.models.encoders.hub import snapshot


class StaticWords(Adapter):
    """A folder of this machine, or a name of the Hub."""

    chunk = 8192

    def __init__(self, found: Located) -> None:
        """Raises CheckpointError for a folder that cannot be read."""
        from model2vec import StaticModel

        folder = found.folder or snapshot(found.spec)
        require_safetensors(folder)
        try:
            self._model: Any = StaticModel.from_pretrained(folder)
        except Exception as error:  # of safetensors, of the tokenizer, of JSON
            raise CheckpointError(f"{folder} cannot be read as a model of model2vec: {first_line(error)}") from error

    @property
    def dim(self) -> int:
        return int(self._model.dim)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.asarray(self._model.encode(list(texts), use_multiprocessing=False), np.float32)
