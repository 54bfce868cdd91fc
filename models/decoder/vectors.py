"""Embeddings as they are handed in: any array-like, made into float32 and checked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unembed.errors import DimensionError, InputError

Vectors = npt.NDArray[np.float32]  # (N, D)
Embeddings = npt.ArrayLike | Tensor
Indices = npt.NDArray[np.int64]  # (N,): places in the corpus


def as_array(embeddings: Embeddings) -> Vectors:
    """Float32 numbers of any array-like. Raises InputError for ragged, object, integer or boolean data."""
    if isinstance(embeddings, Tensor):
        embeddings = embeddings.detach().to("cpu", torch.float32).numpy()
    try:
        array = np.asarray(embeddings)
    except ValueError:
        raise InputError("the embeddings are ragged; expected rows of one length") from None
    if array.dtype.kind != "f":
        raise InputError(f"the embeddings have dtype {array.dtype}; expected floating-point numbers")
    return np.ascontiguousarray(array, dtype=np.float32)


def check(vectors: Vectors, dim: int, whose: str) -> Vectors:
    """The same (N, D). Raises InputError for NaN, infinity or a zero vector, naming the row, DimensionError for a wrong
    D; `whose` says what expects it."""
    if vectors.ndim != 2:
        raise InputError(f"expected embeddings of shape (N, {dim}), got shape {vectors.shape}")
    if vectors.shape[1] != dim:
        raise DimensionError.between(vectors.shape[1], dim, whose)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise InputError(f"row {int(np.argmin(finite))} holds NaN or infinity; expected finite numbers")
    zero = ~vectors.any(axis=1)
    if zero.any():
        raise InputError(f"row {int(np.argmax(zero))} is a zero vector; expected a direction")
    return vectors
