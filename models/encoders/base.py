"""What every encoder does, whatever runs it: texts to unit vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from unembed.errors import InputError

Vectors = npt.NDArray[np.float32]
TellDone = Callable[[int], None]  # is told how many texts are done


class Adapter(ABC):
    """What runs an encoder's network, here or elsewhere."""

    chunk: ClassVar[int] = 1024  # texts that it is given at once, between two reports of progress
    keeps: bool = False  # what it has embedded, for later processes

    @property
    @abstractmethod
    def dim(self) -> int:
        """Of its vectors, before they are cut."""

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.floating]:
        """Vectors (N, D) of any length, of at least one text."""

    def prepare(self, texts: Sequence[str]) -> None:  # noqa: B027 (most have nothing to do)
        """Is called with all texts before the first of them are embedded."""


class Encoder:
    """Texts to unit vectors (N, D)."""

    def __init__(self, name: str, adapter: Adapter, *, prefix: str = "", dim: int | None = None) -> None:
        """`name` is the canonical SPEC; `prefix` comes before each text, and vectors are cut to `dim` dimensions."""
        self.name = name
        self._adapter, self._prefix, self._cut = adapter, prefix, dim

    def encode(self, texts: Sequence[str], progress: TellDone = lambda done: None) -> Vectors:
        """Unit vectors (N, D) float32; a text that the encoder finds nothing in has zeros.

        Raises InputError for vectors that are not as they should be.
        """
        given = [self._prefix + text for text in texts] if self._prefix else texts
        self._adapter.prepare(given)
        parts = []
        for begin in range(0, len(given), self._adapter.chunk):
            chunk = given[begin : begin + self._adapter.chunk]
            parts.append(self._unit(self._adapter.embed(chunk), len(chunk)))
            progress(begin + len(chunk))
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    @property
    def dim(self) -> int:
        return self._cut or self._adapter.dim

    @property
    def keeps(self) -> bool:
        """Whether texts that it has embedded are not embedded again, in a later process neither."""
        return self._adapter.keeps

    def _unit(self, vectors: npt.NDArray[np.floating], texts: int) -> Vectors:
        """Cut to the first `dim` dimensions, where that was asked for, and scaled to length 1."""
        if vectors.ndim != 2 or len(vectors) != texts or vectors.dtype.kind != "f":
            raise InputError(
                f"the encoder {self.name!r} made {vectors.dtype} of shape {vectors.shape} of {texts} texts; "
                f"expected floating-point vectors of shape ({texts}, D)"
            )
        if self._cut and self._cut > vectors.shape[1]:
            raise InputError(
                f"the encoder {self.name!r} makes vectors of {vectors.shape[1]} dimensions; expected a dim up to that"
            )
        kept = np.asarray(vectors[:, : self._cut], np.float32)
        if not np.isfinite(kept).all():
            raise InputError(f"the encoder {self.name!r} made vectors with NaN or infinity; expected finite numbers")
        lengths = np.linalg.norm(kept, axis=1, keepdims=True)
        return np.asarray(kept / np.where(lengths > 0, lengths, 1), np.float32)


def cosines(ours: Vectors, theirs: Vectors) -> Vectors:
    """Row by row, (N, D) and (N, D) → (N,)."""
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    products = np.einsum("nd,nd->n", ours, theirs)
    return np.asarray(products / np.maximum(norms, 1e-12), dtype=np.float32)
