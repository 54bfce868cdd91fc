"""Fingerprints of corpora: sha256 over what was read and which columns of it were meant."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unembed.corpus.base import reading
from unembed.corpus.slices import Vectors


def of_file(path: Path, *columns: str) -> str:
    with reading(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update("\0".join(("", *columns)).encode())
    return digest.hexdigest()


def of_array(vectors: Vectors, ids: Sequence[str | None] | None) -> str:
    digest = hashlib.sha256(f"{vectors.dtype.str}{vectors.shape}".encode())
    step = max(1, 2**20 // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), step):
        digest.update(np.ascontiguousarray(vectors[start : start + step]).data)
    for id_ in ids or ():
        digest.update(b"\1" if id_ is None else f"\0{id_}".encode())
    return digest.hexdigest()
