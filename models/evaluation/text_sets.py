"""Texts and their embeddings: what a decoder is trained on, judged by, or made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unembed.errors import InputError
from unembed.models.decoder.encoder import shared_encoder

Say = Callable[[str], None]


@dataclass(frozen=True)
class TextSet:
    """A named set of texts; its vectors come from a .npy file, or from the encoder."""

    name: str
    texts: Path
    embeddings: Path | None = None


def read_texts(paths: Sequence[Path]) -> list[str]:
    """The lines of UTF-8 text files, one text a line; empty lines are refused, as they would shift the embeddings."""
    texts: list[str] = []
    for path in paths:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if not line.strip():
                raise InputError(f"{path}, line {number} is empty; expected one text per line")
        texts.extend(lines)
    return texts


class Library:
    """Vectors of text sets, embedded once and kept in the folder, in half precision, if there is one."""

    def __init__(self, encoder: str | None, folder: Path | None, say: Say) -> None:
        self._name, self._folder, self._say = encoder, folder, say

    def vectors(self, one: TextSet, lines: Sequence[str], rows: int | None = None) -> npt.NDArray[np.float32]:
        """(N, D), of the first `rows` given. Raises InputError when there are neither vectors nor an encoder, or when
        their numbers do not agree."""
        if one.embeddings is not None:
            return _checked(np.load(one.embeddings, mmap_mode="r", allow_pickle=False)[:rows], lines, one)
        if self._name is None:
            raise InputError(f"{one.name} has texts but no embeddings; expected embeddings or an encoder")
        kept = self._kept(lines)
        if kept is not None and kept.exists():
            return _checked(np.load(kept, allow_pickle=False), lines, one)
        self._say(f"{one.name}: embedding {len(lines):,} texts with {self._name}")
        encoder = shared_encoder(self._name)
        vectors = encoder.encode(lines, lambda done: self._say(f"  {done:,} of {len(lines):,}"))
        if kept is not None:
            vectors = vectors.astype(np.float16)
            np.save(kept, vectors)
        return vectors

    def _kept(self, lines: Sequence[str]) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256("\n".join([str(self._name), *lines]).encode()).hexdigest()[:16]
        return self._folder / f"embeddings-{digest}.npy"


def _checked(vectors: npt.NDArray[np.float32], lines: Sequence[str], one: TextSet) -> npt.NDArray[np.float32]:
    if vectors.ndim != 2 or vectors.shape[0] != len(lines) or vectors.dtype.kind != "f":
        raise InputError(
            f"{one.name}: {len(lines)} texts need floating-point embeddings of shape ({len(lines)}, dim), "
            f"not {vectors.dtype} of shape {vectors.shape}"
        )
    return vectors
