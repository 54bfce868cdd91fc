"""Whether a vector looks like one of a text at all, from what lies beside the weights.

A decoder answers any vector, and answers noise with a sentence. Two numbers tell real vectors from others, both of the
vector at unit length, with limits that are fixed on real vectors which nothing else was fitted on:

outside   the share of its squared distance from the mean that lies in the directions which real vectors use least, an
          eighth of the dimensions. Noise has an eighth of it there; the limit is what 99.6 % of real vectors keep to
nearness  its cosine with the mean. The mean of unrelated texts has a high one, the more of them the higher; a negated
          vector has a low one. The limits lie half way from what all but 0.1 % of real vectors have to what the means
          of 10 unrelated texts have, and to what negated ones have: nearer to the real ones, the means of similar
          texts would be beyond them, and texts of another kind

What they find, and what they miss, is in docs/lab.md: a vector beyond the limits is unusual, one within them need not
have come of a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from unembed.errors import CheckpointError, InputError
from unembed.models.decoder.vectors import Vectors
from unembed.schemas import Wire

DIRECTIONS_FILE: Final = "manifold.safetensors"
LIMITS_FILE: Final = "manifold.json"
# Shares of real vectors beyond the limits, together one in 200. Of noise `outside` alone finds all, so it has the most.
BEYOND_OUTSIDE: Final = 0.004
BEYOND_NEARNESS: Final = 0.0005  # at most, on either side
FEW: Final = 10  # unrelated texts: half way to their mean is the limit of nearness
MANY: Final = 50  # unrelated texts whose mean is to be found
MEANS: Final = 500  # drawn of either
LEAST_ROWS: Final = 1000  # of the quarter that a limit is fixed on, a few have to lie beyond it
MOST_ROWS: Final = 40_000
TINY: Final = 1e-300  # in place of a zero that is divided by

Floats = npt.NDArray[np.float64]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Limits(Wire):
    """manifold.json: what real vectors keep to, and what that finds."""

    format: Literal[1] = 1
    outside: Share
    nearness: tuple[float, float]  # the least and the most
    rows: int  # real vectors: half of them fitted on, a quarter for the limits, a quarter checked on
    false_alarms: Share  # of the quarter that was checked on
    noise_found: Share  # of as many vectors of Gaussian noise
    centroids_found: Share  # of the means of 50 of that quarter, drawn at random


@dataclass(frozen=True)
class Manifold:
    """What the vectors of one embedder look like."""

    mean: Floats  # (D,): of the unit vectors
    directions: Floats  # (T, D): orthonormal, those that real vectors use least
    limits: Limits

    def off(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Whether each of vectors (N, D), finite and not zero, lies beyond a limit: (N,). Their lengths are nothing."""
        outside, nearness = _measure(unit(vectors), self.mean, self.directions)
        least, most = self.limits.nearness
        return (outside > self.limits.outside) | (nearness < least) | (nearness > most)

    def save(self, folder: Path) -> None:
        """The directions in half precision: a tenth of a megabyte at 768 dimensions, 38 kB at 384."""
        # In C's order, as safetensors writes an array's memory as it lies.
        tensors: dict[str, npt.NDArray[Any]] = {
            "mean": np.ascontiguousarray(self.mean, dtype=np.float32),
            "directions": np.ascontiguousarray(self.directions, dtype=np.float16),
        }
        (folder / DIRECTIONS_FILE).write_bytes(save(tensors))
        (folder / LIMITS_FILE).write_text(self.limits.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, embedding_dim: int) -> Manifold | None:
        """None when the folder has none. Raises CheckpointError when it is damaged, or half of it is missing."""
        if not (folder / LIMITS_FILE).exists() and not (folder / DIRECTIONS_FILE).exists():
            return None
        try:
            limits = Limits.model_validate_json((folder / LIMITS_FILE).read_bytes())
            tensors = load_file(folder / DIRECTIONS_FILE)
            mean, directions = (tensors[name].astype(np.float64) for name in ("mean", "directions"))
        except (OSError, KeyError, SafetensorError, ValidationError) as error:
            raise CheckpointError(f"the model of real vectors in {folder} cannot be read: {error}") from None
        if mean.shape != (embedding_dim,) or directions.ndim != 2 or directions.shape[1:] != (embedding_dim,):
            raise CheckpointError(
                f"the model of real vectors in {folder} has a mean of shape {mean.shape} and directions of shape "
                f"{directions.shape}; expected ({embedding_dim},) and (T, {embedding_dim})"
            )
        # NaN would compare as within every limit: each vector would pass.
        at_right_angles = np.allclose(directions @ directions.T, np.eye(len(directions)), atol=0.01)
        if not at_right_angles or not np.linalg.norm(mean) <= 1.001:
            raise CheckpointError(
                f"the model of real vectors in {folder} is damaged; expected directions at right angles, of length 1, "
                "and a mean of unit vectors"
            )
        return cls(mean, directions, limits)

    @staticmethod
    def remove(folder: Path) -> None:
        for name in (DIRECTIONS_FILE, LIMITS_FILE):
            (folder / name).unlink(missing_ok=True)


def rows_needed(embedding_dim: int) -> int:
    """For `fit_manifold`: half of them have to show which directions are hardly used."""
    return max(LEAST_ROWS, 4 * embedding_dim)


def fit_manifold(vectors: Vectors, seed: int = 0) -> Manifold:
    """From real vectors (N, D), of which at most `MOST_ROWS` are drawn.

    Raises InputError when there are fewer than `rows_needed` that are finite and not zero.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.permutation(len(vectors))[:MOST_ROWS]
    given = np.asarray(vectors[np.sort(drawn)], dtype=np.float32)
    rows = unit(given[np.isfinite(given).all(axis=1) & given.any(axis=1)])  # (M, D)
    count, dim = rows.shape
    if count < rows_needed(dim):
        raise InputError(f"{count:,} vectors are too few to know what others look like; expected {rows_needed(dim):,}")
    rows = rows[generator.permutation(count)]
    fitted, limiting, checked = rows[: count // 2], rows[count // 2 : -(count // 4)], rows[-(count // 4) :]
    mean = fitted.mean(axis=0)
    centred = fitted - mean
    _, axes = np.linalg.eigh(centred.T @ centred / len(fitted))  # the least used first
    directions = axes[:, : max(1, dim // 8)].T.astype(np.float16).astype(np.float64)  # (T, D), as it is kept
    mean = mean.astype(np.float32).astype(np.float64)

    outside, nearness = _measure(limiting, mean, directions)
    low, high = (float(np.quantile(nearness, share)) for share in (BEYOND_NEARNESS, 1.0 - BEYOND_NEARNESS))
    crowded = float(np.median(_measure(unit(means_of(limiting, FEW, generator)), mean, directions)[1]))
    negated = -float(np.median(nearness))
    limits = Limits(
        outside=float(np.quantile(outside, 1.0 - BEYOND_OUTSIDE)),
        # Where these vectors are no further out than real ones, the real ones alone say what is usual.
        nearness=(min(low, (low + negated) / 2), max(high, (high + crowded) / 2)),
        rows=count,
        false_alarms=0.0,
        noise_found=0.0,
        centroids_found=0.0,
    )
    made = Manifold(mean, directions, limits)
    noise = generator.normal(size=checked.shape)
    found = {
        "false_alarms": float(made.off(checked).mean()),
        "noise_found": float(made.off(noise).mean()),
        "centroids_found": float(made.off(means_of(checked, MANY, generator)).mean()),
    }
    return Manifold(mean, directions, limits.model_copy(update=found))


def means_of(units: Floats, count: int, generator: np.random.Generator) -> Floats:
    """Means of `count` rows of (N, D), drawn at random: (`MEANS`, D)."""
    return np.stack([units[generator.integers(len(units), size=count)].mean(axis=0) for _ in range(MEANS)])


def unit(vectors: npt.NDArray[np.floating]) -> Floats:
    """(N, D) at length 1; a zero vector stays one."""
    wide = vectors.astype(np.float64)  # the square of a large float32 is infinite
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), TINY))


def _measure(units: Floats, mean: Floats, directions: Floats) -> tuple[Floats, Floats]:
    """The share outside and the cosine with the mean of unit vectors (N, D): (N,) each."""
    centred = units - mean
    squared = np.maximum((centred**2).sum(axis=1), TINY)
    # By torch: numpy's threads are as many as the machine has cores, and wait for more work at full speed.
    along = torch.from_numpy(centred) @ torch.from_numpy(directions).T  # (N, T)
    outside = along.square().sum(dim=1).numpy() / squared
    towards = (torch.from_numpy(units) @ torch.from_numpy(mean)).numpy()  # (N,)
    return outside, towards / max(float(np.linalg.norm(mean)), TINY)
