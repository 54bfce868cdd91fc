"""The phrase bank: known phrases and their embeddings, and the nearest of them for each vector.

bank = Bank.of(texts, embeddings, name="mine")
PhraseBankDecoder(bank).decode(embedding)      # the nearest of the texts, word for word

The search is exact, a block of phrases at a time on the device: no index, nothing approximate. How large a bank that
carries is measured in docs/lab.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from unembed.codes import FailureCode
from unembed.errors import CheckpointError, InputError
from unembed.generations import from_columns
from unembed.models.decoder.base import Answered, DecoderDescription, TextDecoder
from unembed.models.decoder.beside import Beside
from unembed.models.decoder.candidates import Candidate
from unembed.models.decoder.catalog import CONFIG_FILE, read_config
from unembed.models.decoder.checkpoint import checkpoint_folder
from unembed.models.decoder.config import PHRASE_BANK, BankConfig
from unembed.models.decoder.quality import word_diversity
from unembed.models.decoder.vectors import Indices, Vectors, as_array, check
from unembed.models.device import Device, choose
from unembed.schemas import DecodeOptions, RowStatus

Value = TypeVar("Value")

PHRASES_FILE: Final = "phrases.json"
VECTORS_FILE: Final = "vectors.safetensors"
BLOCK: Final = 65_536  # phrases compared at once
TIE: Final = 1e-5  # cosines this near are one: the last bits change with the batch. The earlier phrase is then taken


@dataclass(frozen=True)
class Bank:
    """Different phrases and their unit vectors (M, D), float16: what a bank's folder holds."""

    config: BankConfig
    phrases: tuple[str, ...]
    vectors: np.ndarray

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        embeddings: Vectors,
        *,
        name: str,
        encoder: str | None = None,
        threshold: float = 0.0,
    ) -> Bank:
        """A bank of texts (N,) and their embeddings (N, D); of equal texts the first is kept.

        Raises InputError when the counts differ, there is none, one is empty, or a vector has no direction.
        """
        if embeddings.ndim != 2 or len(texts) != len(embeddings):
            raise InputError(
                f"{len(texts)} phrases need embeddings of shape ({len(texts)}, dim), not {embeddings.shape}"
            )
        if not len(texts):
            raise InputError("a phrase bank needs at least one phrase")
        for number, text in enumerate(texts):
            if not text.strip():
                raise InputError(f"phrase {number} is {text!r}; expected a text")
        vectors = check(as_array(embeddings), embeddings.shape[1], "the phrase bank")
        firsts = {text: place for place, text in reversed(list(enumerate(texts)))}
        places = sorted(firsts.values())
        unit = vectors[places] / np.linalg.norm(vectors[places], axis=1, keepdims=True)
        config = BankConfig(
            name=name, embedding_dim=unit.shape[1], phrases=len(places), encoder=encoder, threshold=threshold
        )
        return cls(config, tuple(texts[place] for place in places), unit.astype(np.float16))

    def save(self, folder: Path) -> None:
        """config.json, phrases.json (a list of texts) and vectors.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / VECTORS_FILE).write_bytes(save({"vectors": np.ascontiguousarray(self.vectors)}))
        phrases = json.dumps(self.phrases, ensure_ascii=False, indent=0)
        (folder / PHRASES_FILE).write_text(phrases + "\n", encoding="utf-8")
        (folder / CONFIG_FILE).write_text(self.config.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name_or_folder: str | Path) -> Bank:
        """Raises UnknownDecoderError for a name that is not known, CheckpointError for files that are missing, damaged
        or do not fit together."""
        folder = checkpoint_folder(name_or_folder)
        config = read_config(folder)
        if not isinstance(config, BankConfig):
            raise CheckpointError(f"{folder} holds a {config.architecture}; expected a {PHRASE_BANK}")
        try:
            phrases = json.loads((folder / PHRASES_FILE).read_bytes())
            vectors = load_file(folder / VECTORS_FILE)["vectors"]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise CheckpointError(f"the phrase bank in {folder} cannot be read: {error}") from None
        if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
            raise CheckpointError(f"{folder / PHRASES_FILE} is not a list of texts")
        expected = (config.phrases, config.embedding_dim)
        if vectors.shape != expected or len(phrases) != config.phrases:
            raise CheckpointError(
                f"{folder}: config.json tells of {expected[0]} phrases in {expected[1]} dimensions, but there are "
                f"{len(phrases)} phrases and vectors of {vectors.shape}"
            )
        return cls(config, tuple(phrases), vectors)


class Near(NamedTuple):
    """The nearest phrases of N vectors, K of each, nearest first."""

    cosines: np.ndarray  # (N, K)
    places: np.ndarray  # (N, K): in the bank


class PhraseBankDecoder(TextDecoder):
    """Answers each vector with the nearest phrase of a bank, or with none when that is not near enough."""

    def __init__(
        self, bank: Bank, device: str = "auto", options: DecodeOptions | None = None, threshold: float | None = None
    ) -> None:
        """`threshold` is the least cosine of an answer; None: the bank's own."""
        self._bank = bank
        self.defaults = bank.config.defaults
        if options is not None:
            self.defaults = self.defaults.model_copy(update={"options": options})
        self.threshold = bank.config.threshold if threshold is None else threshold
        if not -1.0 <= self.threshold <= 1.0:
            raise InputError(f"the threshold is {threshold}; expected a cosine, -1 to 1")
        self._device: Device = choose(device)
        self._vectors = torch.from_numpy(bank.vectors.astype(np.float32)).to(self._device.torch_device)  # (M, D)
        self.description = DecoderDescription(
            name=bank.config.name,
            architecture=PHRASE_BANK,
            embedding_dim=bank.config.embedding_dim,
            encoder=bank.config.encoder,
            device=self._device.name,
            engine="torch",
            precision="float32",  # of cosines: a coarser one would exchange near phrases
            trained=True,
            parameters=0,
        )

    @classmethod
    def load(cls, name_or_folder: str | Path, device: str = "auto") -> PhraseBankDecoder:
        return cls(Bank.load(name_or_folder), device)

    def save_model(self, folder: str | Path) -> Path:
        config = self._bank.config.model_copy(update={"defaults": self.defaults})
        replace(self._bank, config=config).save(Path(folder))
        return Path(folder)

    @property
    def bank(self) -> Bank:
        return self._bank

    def peak_memory_bytes(self) -> int | None:
        return self._device.peak_memory_bytes()

    def nearest(self, vectors: Vectors, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines (N, K) of the nearest phrases to vectors (N, D), falling, and their places in the bank (N, K).

        K is `count`, or the size of the bank where that is smaller. Of phrases that are equally near, the earlier.
        """
        queries = torch.from_numpy(np.require(vectors, np.float32, ("C", "W"))).to(self._device.torch_device)
        queries = torch.nn.functional.normalize(queries, dim=1)  # (N, D)
        kept: Tensor = torch.empty((len(queries), 0), device=queries.device)
        places: Tensor = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
        for begin in range(0, len(self._vectors), BLOCK):
            cosines = queries @ self._vectors[begin : begin + BLOCK].T  # (N, B)
            best, at = cosines.topk(min(count, cosines.shape[1]), dim=1)
            kept = torch.cat((kept, best), dim=1)
            places = torch.cat((places, at + begin), dim=1)
            kept, order = kept.topk(min(count, kept.shape[1]), dim=1)
            places = places.gather(1, order)
        return kept.cpu().numpy(), places.cpu().numpy()

    def neighbours(self, vectors: Vectors, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines (N, K) and places (N, K) as `nearest` has them, but that of phrases as near as the nearest, to within
        the last bits, the earliest comes first."""
        cosines, places = self.nearest(vectors, max(count, 2))  # two, to see whether the first has an equal
        tied = cosines >= cosines[:, :1] - TIE  # (N, K)
        order = np.lexsort((np.where(tied, places, -cosines), ~tied), axis=1)
        best_first = (np.take_along_axis(found, order, axis=1)[:, :count] for found in (cosines, places))
        return next(best_first), next(best_first)

    def raw_answer(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> Answered:
        """Of the options, `candidates` says how many phrases are listed, and `scores` whether the diversity is
        computed; the others have no meaning here. Nothing is drawn.

        The nearest phrase answers if it is near enough; otherwise the row is an error.
        """
        begun = time.perf_counter()
        near = self.near(vectors, options.candidates)
        answered = self.answered(near, indices, options)
        return replace(answered, decode_ms=(time.perf_counter() - begun) * 1000.0)

    def near(self, vectors: Vectors, count: int) -> Near:
        """The nearest phrases of vectors (N, D)."""
        return Near(*self.neighbours(vectors, count))

    def answered(self, near: Near, indices: Indices, options: DecodeOptions) -> Answered:
        """What the nearest phrases answer, once they are found."""
        cosines, places = near.cosines[:, : options.candidates], near.places[:, : options.candidates]
        nearest = cosines[:, 0].astype(np.float64)  # (N,)
        known = nearest >= self.threshold  # (N,)
        texts = [self._bank.phrases[place] for place in places[:, 0].tolist()]
        rows = from_columns(
            indices,
            status=np.where(known, RowStatus.OK, RowStatus.ERROR).tolist(),
            text=_where(known, texts),
            source=_where(known, [self.name] * len(texts)),
            diversity=_where(known, [word_diversity(text) for text in texts]) if options.scores == "all" else None,
            round_trip=_where(known, nearest.tolist()),
            error_code=_where(~known, [FailureCode.NO_PHRASE] * len(texts)),
            error=_where(~known, [self._too_far(cosine) for cosine in nearest.tolist()]),
        )

        def candidates(row: int) -> tuple[Candidate, ...]:
            pairs = zip(cosines[row].tolist(), places[row].tolist(), strict=True)
            return tuple(Candidate(self._bank.phrases[place], cosine, self.name, cosine) for cosine, place in pairs)

        return Answered(rows, decode_ms=0.0, score_ms=0.0, candidates=candidates)

    def beside(self, near: Near, count: int) -> Beside:
        """Up to so many of each row's nearest phrases that are near enough, for a network that ranks them with its own
        texts."""
        cosines, places = near.cosines[:, :count], near.places[:, :count]
        row, _ = enough = np.nonzero(cosines >= self.threshold)
        chosen = places[enough].tolist()
        embeddings = self._bank.vectors[chosen].astype(np.float32)  # (P, D)
        texts = tuple(self._bank.phrases[place] for place in chosen)
        return Beside(self.name, row.astype(np.int64), texts, embeddings, cosines[enough].astype(np.float64))

    def _too_far(self, cosine: float) -> str:
        return (
            f"the nearest of {len(self._bank.phrases):,} known phrases has a cosine of {cosine:.3f}; "
            f"expected {self.threshold:.3f} or more"
        )


def _where(kept: npt.NDArray[np.bool_], values: Sequence[Value]) -> list[Value | None]:
    """The values (N,) that are kept, and None for the others."""
    return [value if keep else None for keep, value in zip(kept.tolist(), values, strict=True)]
