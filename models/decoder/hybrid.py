"""The hybrid: a network's candidates together with a bank's nearest phrases.

A network with a sketch ranks both together: the phrases are candidates among its own (`beside.py`), and what is known
of their embeddings corrects its sketch. A phrase whose vector is the given one answers whatever the network says.

Without a sketch a rule decides. Where the network's text is embedded again (`embed` or `round_trip`), both have a
cosine with the given vector: the network answers when its own, and a margin in its favour, are at least the phrase's.
Otherwise the phrase answers when it is near enough to be likely the better text. Margin and nearness are learnt on
held-out texts (`evaluation/rule.py`) and kept in the hybrid's config.json.

A row that the bank answers says `fallback` and names the bank. The bank answers too when the network fails over a row,
or when the overall_quality of its text is under the floor; a row that neither answers is an error. No text is ever
invented.

Whether a vector is off the manifold, the network's checkpoint says, of every row and whoever answers it. That is no
part of the rule: it doubts the vector, and to a vector of nothing the phrase is no better an answer than the text.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unembed.codes import FailureCode
from unembed.errors import CheckpointError, DimensionError, UnembedError
from unembed.generations import concatenated, error_rows, floats, from_columns, where, with_column
from unembed.models.decoder.base import SCORES, Answered, TextDecoder
from unembed.models.decoder.beside import NEAREST, SAME, Beside
from unembed.models.decoder.candidates import Candidate
from unembed.models.decoder.catalog import CONFIG_FILE, part_of, read_config
from unembed.models.decoder.checkpoint import checkpoint_folder
from unembed.models.decoder.config import HYBRID, HybridConfig
from unembed.models.decoder.failures import is_broken_device, is_out_of_memory
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.graph_engine import GPU_MEMORY
from unembed.models.decoder.manifold import Manifold
from unembed.models.decoder.phrase_bank import PhraseBankDecoder
from unembed.models.decoder.vectors import Indices, Vectors
from unembed.schemas import DecodeOptions, EngineChoice, Precision, RowStatus

log = logging.getLogger(__name__)

# What a row can make a network raise. A time limit, an interrupt and errors of our own are none of it.
FAILURES: Final = (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError)


class HybridDecoder(TextDecoder):
    """Two decoders of the same embeddings behind one face."""

    def __init__(self, config: HybridConfig, network: GenerativeDecoder, bank: PhraseBankDecoder | None = None) -> None:
        """Raises DimensionError when the parts read other dimensions than the config tells of."""
        for part in filter(None, (network, bank)):
            if part.embedding_dim != config.embedding_dim:
                raise DimensionError.between(config.embedding_dim, part.embedding_dim, f"its part {part.name!r}")
        self._config, self._network, self._bank = config, network, bank
        self.defaults = config.defaults or network.defaults
        self.description = replace(network.description, name=config.name, architecture=HYBRID)

    @classmethod
    def load(
        cls,
        name_or_folder: str | Path,
        device: str = "auto",
        precision: Precision = "auto",
        engine: EngineChoice = "auto",
        gpu_memory: int = GPU_MEMORY,
    ) -> HybridDecoder:
        """By name, or from its folder; its parts lie beside it, or in the catalogue.

        Raises UnknownDecoderError for a part that is not there, CheckpointError for one that is of another kind.
        """
        folder = checkpoint_folder(name_or_folder)
        config = read_config(folder)
        if not isinstance(config, HybridConfig):
            raise CheckpointError(f"{folder} holds a {config.architecture}; expected a {HYBRID}")
        return cls(config, *load_parts(folder, config.decoder, config.bank, device, precision, engine, gpu_memory))

    def save_model(self, folder: str | Path) -> Path:
        """config.json alone: the parts are checkpoints of their own."""
        save_hybrid(Path(folder), self._config.model_copy(update={"defaults": self.defaults}))
        return Path(folder)

    @property
    def config(self) -> HybridConfig:
        return self._config

    @property
    def manifold(self) -> Manifold | None:
        return self._network.manifold

    def peak_memory_bytes(self) -> int | None:
        return self._network.peak_memory_bytes()

    def raw_answer(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> Answered:
        asked = options
        if self._config.floor > 0.0:  # the rule needs the overall_quality, even where the caller does not
            asked = asked.model_copy(update={"scores": "all"})
        begun = time.perf_counter()
        phrases, beside = self._phrases(vectors, indices, options)
        seconds = time.perf_counter() - begun
        own = self._own(vectors, indices, asked, seed, beside)
        begun = time.perf_counter()
        decided = self._decided(own.rows, phrases.rows if phrases else None, ruled=beside is None)
        if options.scores == "none":
            for name in SCORES:
                decided = with_column(decided, name, None)
        return Answered(
            decided,
            own.decode_ms,
            own.score_ms + (seconds + time.perf_counter() - begun) * 1000.0,
            candidates=lambda row: _listed(decided["source"][row].as_py(), row, own, phrases),
        )

    def _phrases(
        self, vectors: Vectors, indices: Indices, options: DecodeOptions
    ) -> tuple[Answered | None, Beside | None]:
        """What the bank answers, and what of it the network ranks with its own texts; None where it does not."""
        if self._bank is None:
            return None, None
        borrows = self._network.borrows(options)
        near = self._bank.near(vectors, max(options.candidates, NEAREST) if borrows else options.candidates)
        return self._bank.answered(near, indices, options), self._bank.beside(near, NEAREST) if borrows else None

    def _own(
        self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int, beside: Beside | None
    ) -> Answered:
        """What the network says; rows over which it fails are found by halving, and are error rows alone."""
        try:
            return self._network.raw_answer(vectors, indices, options, seed, beside)
        except FAILURES as error:
            if isinstance(error, UnembedError) or is_out_of_memory(error) or is_broken_device(error):
                raise
            if len(vectors) == 1:
                log.warning("%s fails on row %d: %s", self._network.name, int(indices[0]), error)
                return self._failed(vectors, indices, error)
        middle = len(vectors) // 2
        halves = (beside and beside.of_rows(0, middle), beside and beside.of_rows(middle, len(vectors)))
        first = self._own(vectors[:middle], indices[:middle], options, seed, halves[0])
        second = self._own(vectors[middle:], indices[middle:], options, seed, halves[1])
        return Answered(
            concatenated([first.rows, second.rows]),
            first.decode_ms + second.decode_ms,
            first.score_ms + second.score_ms,
            candidates=lambda row: first.candidates(row) if row < middle else second.candidates(row - middle),
        )

    def _failed(self, vectors: Vectors, indices: Indices, error: Exception) -> Answered:
        rows = from_columns(
            indices,
            status=RowStatus.ERROR,
            error_code=FailureCode.NO_ANSWER,
            error=f"{type(error).__name__}: {error}",
            off_manifold=self._network.off_manifold(vectors),
        )
        return Answered(rows, 0.0, 0.0, candidates=lambda row: ())

    def _decided(self, own: pa.RecordBatch, phrases: pa.RecordBatch | None, *, ruled: bool) -> pa.RecordBatch:
        """Of each row the network's columns or the bank's, or an error that says why neither answers.

        `ruled`: the network has not seen the phrases, so the rule decides.
        """
        overall = floats(own["overall_quality"])  # (N,), NaN where it is not known
        failed = own["error"].is_valid().to_numpy(zero_copy_only=False)  # (N,)
        unusable = failed | (overall < self._config.floor)
        known = np.zeros(len(overall), dtype=np.bool_)
        if phrases is not None:
            known = phrases["text"].is_valid().to_numpy(zero_copy_only=False)
        nearer = self._phrase_is_nearer(own, phrases) if ruled else _is_same(own, phrases)
        chosen = known & (unusable | nearer)
        rows = own
        if phrases is not None:
            rows = where(chosen, with_column(phrases, "status", RowStatus.FALLBACK), own)
        for place in np.flatnonzero(unusable & ~known).tolist():
            why = own["error"][place].as_py() if failed[place] else self._under_the_floor(overall[place])
            bank = "there is no phrase bank" if phrases is None else phrases["error"][place].as_py()
            error = error_rows([own["index"][place].as_py()], FailureCode.NO_ANSWER, f"{why}; {bank}")
            rows = concatenated([rows.slice(0, place), error, rows.slice(place + 1)])
        return with_column(rows, "off_manifold", own["off_manifold"])

    def _phrase_is_nearer(self, own: pa.RecordBatch, phrases: pa.RecordBatch | None) -> npt.NDArray[np.bool_]:
        """(N,); of no meaning where there is no phrase."""
        if phrases is None:
            return np.zeros(own.num_rows, dtype=np.bool_)
        cosine, nearness = floats(phrases["round_trip"]), floats(own["round_trip"])  # (N,)
        blind = cosine > (np.inf if self._config.known_from is None else self._config.known_from)
        seeing = nearness + self._config.margin < cosine
        return np.where(np.isnan(nearness), blind, seeing)

    def _under_the_floor(self, overall: float) -> str:
        return f"the decoding's overall_quality is {overall:.3f}, under the floor of {self._config.floor:.3f}"


def _is_same(own: pa.RecordBatch, phrases: pa.RecordBatch | None) -> npt.NDArray[np.bool_]:
    """(N,): whether the nearest phrase has the given vector, and is not what the network says itself."""
    if phrases is None:
        return np.zeros(own.num_rows, dtype=np.bool_)
    other = [ours != theirs for ours, theirs in zip(own["text"].to_pylist(), phrases["text"].to_pylist(), strict=True)]
    return np.asarray(other, dtype=np.bool_) & (floats(phrases["round_trip"]) >= SAME)


def save_hybrid(folder: Path, config: HybridConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_parts(
    folder: Path,
    decoder: str,
    bank: str | None,
    device: str = "auto",
    precision: Precision = "auto",
    engine: EngineChoice = "auto",
    gpu_memory: int = GPU_MEMORY,
) -> tuple[GenerativeDecoder, PhraseBankDecoder | None]:
    """The parts of the hybrid in this folder, by their names."""
    network = GenerativeDecoder.load(part_of(folder, decoder), device, precision, engine, gpu_memory)
    return network, PhraseBankDecoder.load(part_of(folder, bank), device) if bank else None


def _listed(source: str | None, row: int, own: Answered, phrases: Answered | None) -> tuple[Candidate, ...]:
    """The answer, then the rest. Of equal texts the first.

    Where the network's text has a cosine, the rest come by theirs, those without one last; otherwise as they were.

    A row without an answer lists what the network had found.
    """
    first, others = own.candidates(row), phrases.candidates(row) if phrases else ()
    if source is None or phrases is None or not phrases.rows["text"][row].is_valid:
        return first
    seen = any(one.round_trip is not None for one in first)
    if source == phrases.rows["source"][row].as_py():
        first, others = others, first
    rest = [*first[1:], *others]
    if seen:
        rest.sort(key=lambda one: np.inf if one.round_trip is None else -one.round_trip)
    return tuple({one.text: one for one in reversed([first[0], *rest])}.values())[::-1]
