"""The sketch: a vector for each word and each pair of neighbouring words; a text's sketch is the sum of its vectors.

At length 1 it is an estimate of the text's embedding that costs microseconds, where an encoder costs milliseconds, and
it needs no encoder at all: it is fitted to the pairs that the decoder was trained on (models/training/sketch.py).

The vectors lie in the K directions in which embeddings are longest, at 4 bits a number: for the same bytes, more
directions at 4 bits estimate better than fewer at 8 (docs/lab.md). The directions are orthonormal, so lengths and
cosines are found among the K coordinates, without going back to the E of an embedding.

Which of several texts is the one of an embedding is judged in another space, of J directions: there an error of the
sketch is as long in one direction as in any other, so those in which it errs little count for more.

A text also has a mark at its start and one at its end. Words and pairs that were seldom seen have no vector, and a text
without any known word has the zero vector as its sketch, with a cosine of 0 to everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from unembed.errors import CheckpointError
from unembed.models.decoder.catalog import SKETCH_FILE
from unembed.models.decoder.manifold import unit
from unembed.models.decoder.vectors import Vectors
from unembed.models.decoder.words import capitalised, surfaces
from unembed.schemas import Wire

TABLE_FILE: Final = "sketch.safetensors"
WORDS_FILE: Final = SKETCH_FILE
TENSORS: Final = ("pairs", "rows", "scales", "basis", "metric", "priors")
LEVELS: Final = 16  # of a number: the halves -7.5, -6.5 ... 7.5, times the scale of its row
STEP: Final = 0.335  # of a row's scale, as a share of the root mean square of its numbers: the best for Gaussian ones
START, END = 0, 1  # ids of the marks around a text
MARKS: Final = ("^", "$")  # how they are written; a text's own "^" is another word
UNKNOWN: Final = -1

Ids = npt.NDArray[np.int64]


class Fit(Wire):
    """How a sketch was made, and how well it estimates."""

    texts: int
    ridge: float
    held_out: int  # texts of them that a first fit did not see
    cosine: float  # of the sketches of those with their embeddings, mean


class Described(Wire):
    """sketch.json."""

    format: Literal[1] = 1
    fit: Fit
    words: tuple[str, ...]


class Bags(NamedTuple):
    """Of each of M texts the rows of the table that it is the sum of."""

    ids: npt.NDArray[np.integer]  # of all texts, one after the other
    offsets: npt.NDArray[np.integer]  # (M + 1,): text m has ids[offsets[m]:offsets[m + 1]]


@dataclass(frozen=True, eq=False)
class Sketch:
    """W words, P pairs, R = W + P rows; K directions of E dimensions."""

    words: tuple[str, ...]  # each as it is commonest within a sentence; its place is its id; the first two are MARKS
    pairs: npt.NDArray[np.int32]  # (P, 2): ids of words; sorted
    rows: npt.NDArray[np.uint8]  # (R, K/2): of the words, then of the pairs; two numbers in a byte
    scales: npt.NDArray[np.float16]  # (R,)
    basis: npt.NDArray[np.float16]  # (E, K): orthonormal columns
    metric: npt.NDArray[np.float16]  # (K, J): into the space that texts are judged in
    priors: npt.NDArray[np.float16]  # (R,): log p of a word, of a pair's second word after its first
    fit: Fit

    @property
    def embedding_dim(self) -> int:
        return len(self.basis)

    @property
    def rank(self) -> int:
        return int(self.basis.shape[1])

    @property
    def bytes(self) -> int:
        """In files, nearly."""
        arrays: Iterator[npt.NDArray[Any]] = (getattr(self, name) for name in TENSORS)
        return sum(array.nbytes for array in arrays) + sum(len(word.encode()) + 3 for word in self.words)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of a word, however it is written, or UNKNOWN."""
        keys = {word.lower(): number for number, word in enumerate(self.words) if number > END}
        usual = {word: number for number, word in enumerate(self.words) if number > END}
        usual |= {capital: number for key, number in keys.items() if (capital := capitalised(key)).lower() == key}
        return _Ids(usual | keys)

    @cached_property
    def table(self) -> npt.NDArray[np.float32]:
        """(R, K): the vectors of words and pairs, among the basis."""
        return unpacked(self.rows, self.scales)

    def pair_rows(self, left: Ids, right: Ids) -> Ids:
        """The row of the table of each pair of ids, or UNKNOWN."""
        if not len(self.pairs):
            return np.full(np.shape(left), UNKNOWN, dtype=np.int64)
        codes = left * len(self.words) + right
        places = np.minimum(np.searchsorted(self._pair_codes, codes), len(self.pairs) - 1)
        known = (self._pair_codes[places] == codes) & (left >= 0) & (right >= 0)
        return np.where(known, places + len(self.words), UNKNOWN)

    def bags(self, texts: Sequence[str]) -> Bags:
        return self.bags_and_unknown(texts)[0]

    def bags_and_unknown(self, texts: Sequence[str]) -> tuple[Bags, Ids]:
        """Of M texts, and how many words of each (M,) it does not know."""
        found = list(map(surfaces, texts))
        counts = np.fromiter(map(len, found), np.int64, len(found))  # (M,)
        ends = np.cumsum(counts + 2)  # (M,): each text lies between its two marks
        starts = ends - counts - 2
        total = int(counts.sum())
        inside = np.ones(total + 2 * len(found), dtype=bool)
        inside[starts] = inside[ends - 1] = False
        words = np.empty(len(inside), dtype=np.int64)
        words[inside] = np.fromiter(map(self.ids.__getitem__, chain.from_iterable(found)), np.int64, total)
        words[starts], words[ends - 1] = START, END
        both = np.full((len(inside), 2), UNKNOWN, dtype=np.int64)  # a word, and its pair with the next
        both[:, 0] = words
        both[:-1, 1] = self.pair_rows(words[:-1], words[1:])
        known = np.concatenate([[0], np.cumsum(both >= 0)])  # of all numbers before
        offsets = known[2 * np.concatenate([[0], ends])]
        ids = both[both >= 0]
        unknown = np.diff(np.concatenate([[0], np.cumsum(words == UNKNOWN)])[np.concatenate([[0], ends])])
        some = counts > unknown
        if some.all():
            return Bags(ids, offsets), unknown
        sizes = np.diff(offsets)
        return Bags(ids[np.repeat(some, sizes)], np.concatenate([[0], np.cumsum(sizes * some)])), unknown

    def sums(self, texts: Sequence[str]) -> Vectors:
        """The sketches of M texts among the basis, at any length: (M, K)."""
        return self.sum_rows(self.bags(texts))

    def sum_rows(self, bags: Bags) -> Vectors:
        """(M, K), of M bags."""
        return bag_sums(torch.from_numpy(self.table), bags).numpy()

    def coordinates(self, vectors: Vectors) -> Vectors:
        """Embeddings (M, E) at length 1 among the basis: (M, K); what lies outside it is lost, and they are shorter."""
        return (torch.from_numpy(unit(vectors).astype(np.float32)) @ self._wide_basis).numpy()

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """The estimated embeddings of M texts at length 1, or zero: (M, E)."""
        return _as_unit((torch.from_numpy(self.sums(texts)) @ self._wide_basis.T).numpy())

    def cosines(self, texts: Sequence[str], vectors: Vectors) -> npt.NDArray[np.float32]:
        """Of each of M texts' sketches with the embedding (M, E) beside it: (M,)."""
        return np.asarray((_as_unit(self.sums(texts)) * self.coordinates(vectors)).sum(axis=1), dtype=np.float32)

    @cached_property
    def judging(self) -> npt.NDArray[np.float32]:
        """(R, J): the table in the space that texts are judged in."""
        return (torch.from_numpy(self.table) @ self._wide_metric).numpy()

    def queries(self, vectors: Vectors) -> Vectors:
        """Embeddings (M, E) in that space, at length 1: (M, J)."""
        return self.queries_of(self.coordinates(vectors))

    def queries_of(self, coordinates: Vectors) -> Vectors:
        """The same, of embeddings that are given among the basis (M, K)."""
        return _as_unit((torch.from_numpy(coordinates) @ self._wide_metric).numpy())

    def judged(self, texts: Sequence[str]) -> Vectors:
        """The sketches of M texts in that space, at length 1, or zero: (M, J)."""
        return self.judged_bags(self.bags(texts))

    def judged_bags(self, bags: Bags) -> Vectors:
        """(M, J), of M bags."""
        return _as_unit(bag_sums(torch.from_numpy(self.judging), bags).numpy())

    def nearness(self, texts: Sequence[str], queries: Vectors) -> npt.NDArray[np.float32]:
        """The cosine of each of M texts' sketches with the query (M, J) beside it, in that space: (M,)."""
        return np.asarray((self.judged(texts) * queries).sum(axis=1), dtype=np.float32)

    @cached_property
    def _wide_metric(self) -> Tensor:
        return torch.from_numpy(self.metric.astype(np.float32))

    @cached_property
    def _pair_codes(self) -> Ids:
        return self.pairs[:, 0] * np.int64(len(self.words)) + self.pairs[:, 1]

    @cached_property
    def _wide_basis(self) -> Tensor:
        return torch.from_numpy(self.basis.astype(np.float32))

    def save(self, folder: Path) -> None:
        tensors: dict[str, npt.NDArray[Any]] = {name: np.ascontiguousarray(getattr(self, name)) for name in TENSORS}
        (folder / TABLE_FILE).write_bytes(save(tensors))
        described = Described(fit=self.fit, words=self.words)
        (folder / WORDS_FILE).write_text(described.model_dump_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, embedding_dim: int) -> Sketch | None:
        """None when the folder has none. Raises CheckpointError when it is damaged, or half of it is missing."""
        if not (folder / WORDS_FILE).exists() and not (folder / TABLE_FILE).exists():
            return None
        try:
            described = Described.model_validate_json((folder / WORDS_FILE).read_bytes())
            tensors = load_file(folder / TABLE_FILE)
            pairs, rows, scales, basis, metric, priors = (tensors[name] for name in TENSORS)
            made = cls(described.words, pairs, rows, scales, basis, metric, priors, described.fit)
        except (OSError, KeyError, SafetensorError, ValidationError) as error:
            raise CheckpointError(f"the sketch in {folder} cannot be read: {error}") from None
        if fault := made.fault(embedding_dim):
            raise CheckpointError(f"the sketch in {folder} is damaged: {fault}")
        return made

    def fault(self, embedding_dim: int) -> str | None:
        """What is wrong with it, and what was expected."""
        words, pairs, half = len(self.words), len(self.pairs), self.rows.shape[-1]
        expected = {
            "pairs": ((pairs, 2), np.int32),
            "rows": ((words + pairs, half), np.uint8),
            "scales": ((words + pairs,), np.float16),
            "basis": ((embedding_dim, 2 * half), np.float16),
            "metric": ((2 * half, self.metric.shape[-1]), np.float16),
            "priors": ((words + pairs,), np.float16),
        }
        for name, (shape, dtype) in expected.items():
            found = getattr(self, name)
            if found.shape != shape or found.dtype != dtype:
                return f"{name} are {found.dtype} of shape {found.shape}; expected {np.dtype(dtype)} of shape {shape}"
        if self.words[:2] != MARKS or len({word.lower() for word in self.words[2:]}) != words - 2:
            return "its words are not distinct, or do not begin with the marks ^ and $"
        if pairs and not (self.pairs.min() >= 0 and self.pairs.max() < words and (np.diff(self._pair_codes) > 0).all()):
            return f"its pairs are not distinct pairs of its {words} words in order"
        # NaN would be in every sum.
        if not (np.isfinite(self.scales).all() and (self.scales >= 0).all()):
            return "its scales are not all finite and positive"
        if not (np.isfinite(self.priors).all() and (self.priors <= 0).all()):
            return "its priors are not all logarithms of probabilities"
        if not np.isfinite(self.metric).all():
            return "its metric is not all finite"
        wide = self.basis.astype(np.float32)
        if not np.allclose(wide.T @ wide, np.eye(self.rank), atol=0.01):
            return "its directions are not at right angles, or not of length 1"
        return None

    @staticmethod
    def remove(folder: Path) -> None:
        for name in (TABLE_FILE, WORDS_FILE):
            (folder / name).unlink(missing_ok=True)


class _Ids(dict[str, int]):
    """Of the usual ways to write a word; any other is looked up by its key."""

    def __missing__(self, surface: str) -> int:
        return self.get(surface.lower(), UNKNOWN)


def bag_sums(table: Tensor, bags: Bags) -> Tensor:
    """The sum of each bag's rows of (R, K): (M, K)."""
    if not len(bags.ids):
        return torch.zeros((len(bags.offsets) - 1, table.shape[1]))
    ids, offsets = torch.from_numpy(bags.ids), torch.from_numpy(bags.offsets)
    return torch.nn.functional.embedding_bag(ids, table, offsets, mode="sum", include_last_offset=True)


def packed(table: Vectors) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Rows (R, K) at 4 bits a number, (R, K/2), and their scales (R,): a number is off by about half a scale at most,
    unless it lies beyond the levels."""
    steps = STEP * np.sqrt(np.square(table).mean(axis=1, keepdims=True))  # (R, 1)
    levels = np.floor(table / np.where(steps > 0, steps, 1)).clip(-LEVELS // 2, LEVELS // 2 - 1)  # (R, K)
    halves = levels + 0.5
    scales = (table * halves).sum(axis=1) / np.square(halves).sum(axis=1)  # the nearest to the row, once it is rounded
    codes = (levels + LEVELS // 2).astype(np.uint8)
    return np.bitwise_or(codes[:, ::2], codes[:, 1::2] << 4, dtype=np.uint8), scales.astype(np.float16)


def unpacked(rows: npt.NDArray[np.uint8], scales: npt.NDArray[np.float16]) -> Vectors:
    """The table (R, K)."""
    table = np.empty((len(rows), 2 * rows.shape[1]), dtype=np.float32)
    table[:, ::2], table[:, 1::2] = rows & 15, rows >> 4
    table -= (LEVELS - 1) / 2
    table *= scales.astype(np.float32)[:, None]
    return table


def _as_unit(sums: Vectors) -> Vectors:
    """(M, D) at length 1; a zero vector stays one."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)  # (M, 1)
    return np.asarray(sums / np.where(lengths > 0, lengths, 1), dtype=np.float32)
