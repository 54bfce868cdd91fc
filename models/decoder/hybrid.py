"""The hybrid: a network's candidates together with a bank's nearest phrase, and a rule for which to believe.

With the encoder, both are cosines with the given vector: the network answers when its own, and a margin in its favour,
are at least the phrase's. Without it, the phrase answers when it is near enough to be likely the better text. Both
numbers are learnt on held-out texts (`evaluation/rule.py`) and kept in the hybrid's config.json.

A row that the bank answers says `fallback` and names the bank. The bank answers too when the network fails over a row,
or when the overall_quality of its text is under the floor; a row that neither answers is an error. No text is ever
invented.

Whether a vector is off the manifold, the network's checkpoint says, of every row and whoever answers it. That is no
part of the rule: it doubts the vector, and to a vector of nothing the phrase is no better an answer than the text.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from unembed.codes import FailureCode
from unembed.errors import CheckpointError, DimensionError, UnembedError
from unembed.models.decoder.base import Answer, Candidate, Indices, TextDecoder
from unembed.models.decoder.catalog import CONFIG_FILE, find, read_config
from unembed.models.decoder.checkpoint import checkpoint_folder
from unembed.models.decoder.config import HYBRID, HybridConfig
from unembed.models.decoder.failures import is_broken_device, is_out_of_memory
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.manifold import Manifold
from unembed.models.decoder.phrase_bank import PhraseBankDecoder
from unembed.models.decoder.rank import ranking
from unembed.models.decoder.vectors import Vectors
from unembed.schemas import DecodeOptions, Precision, Ranking, RowStatus

log = logging.getLogger(__name__)

# What a row can make a network raise. A time limit, an interrupt and errors of our own are none of it.
FAILURES: Final = (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError)


@dataclass(frozen=True)
class _Failed:
    """Why the network has no answer to a row."""

    why: str
    off_manifold: bool | None = None


class HybridDecoder(TextDecoder):
    """Two decoders of the same embeddings behind one face."""

    def __init__(self, config: HybridConfig, network: GenerativeDecoder, bank: PhraseBankDecoder | None = None) -> None:
        """Raises DimensionError when the parts read other dimensions than the config tells of."""
        for part in filter(None, (network, bank)):
            if part.embedding_dim != config.embedding_dim:
                raise DimensionError.between(config.embedding_dim, part.embedding_dim, f"its part {part.name!r}")
        self._config, self._network, self._bank = config, network, bank
        self.defaults = config.defaults or network.defaults

    @classmethod
    def load(cls, name_or_folder: str | Path, device: str = "auto", precision: Precision = "auto") -> HybridDecoder:
        """By name, or from its folder; its parts lie beside it, or in the catalogue.

        Raises UnknownDecoderError for a part that is not there, CheckpointError for one that is of another kind.
        """
        folder = checkpoint_folder(name_or_folder)
        config = read_config(folder)
        if not isinstance(config, HybridConfig):
            raise CheckpointError(f"{folder} holds a {config.architecture}; expected a {HYBRID}")
        return cls(config, *load_parts(folder, config.decoder, config.bank, device, precision))

    def save_model(self, folder: str | Path) -> Path:
        """config.json alone: the parts are checkpoints of their own."""
        save_hybrid(Path(folder), self._config.model_copy(update={"defaults": self.defaults}))
        return Path(folder)

    @property
    def config(self) -> HybridConfig:
        return self._config

    @property
    def name(self) -> str:
        return self._config.name

    @property
    def architecture(self) -> str:
        return HYBRID

    @property
    def embedding_dim(self) -> int:
        return self._config.embedding_dim

    @property
    def encoder(self) -> str | None:
        return self._network.encoder

    @property
    def manifold(self) -> Manifold | None:
        return self._network.manifold

    @property
    def device(self) -> str:
        return self._network.device

    @property
    def precision(self) -> str:
        return self._network.precision

    @property
    def trained(self) -> bool:
        return self._network.trained

    @property
    def parameters(self) -> int:
        return self._network.parameters

    def peak_memory_bytes(self) -> int | None:
        return self._network.peak_memory_bytes()

    def answer(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> list[Answer]:
        by = ranking(options, self.encoder)
        # The phrase is one more candidate: where there is an encoder, the network's text is embedded again to compare.
        asked = options.model_copy(update={"round_trip": options.round_trip or by == "encoder"})
        own = self._own(vectors, indices, asked, seed)
        begun = time.perf_counter()
        phrases = self._bank.answer(vectors, indices, options, seed) if self._bank else [None] * len(own)
        answers = [
            replace(self._believed(one, phrase, by), off_manifold=one.off_manifold)
            for one, phrase in zip(own, phrases, strict=True)
        ]
        self.score_ms += (time.perf_counter() - begun) * 1000.0
        return answers

    def _own(self, vectors: Vectors, indices: Indices, options: DecodeOptions, seed: int) -> list[Answer | _Failed]:
        """The network's answers; rows over which it fails are found by halving, and do not take others with them."""
        try:
            answers: list[Answer | _Failed] = [*self._network.answer(vectors, indices, options, seed)]
        except FAILURES as error:
            if isinstance(error, UnembedError) or is_out_of_memory(error) or is_broken_device(error):
                raise
            if len(vectors) == 1:
                log.warning("%s fails over row %d: %s", self._network.name, int(indices[0]), error)
                return [_Failed(f"{type(error).__name__}: {error}", self._network.off_manifold(vectors)[0])]
            middle = len(vectors) // 2
            halves = (slice(None, middle), slice(middle, None))
            answers, score_ms = [], 0.0
            for half in halves:
                answers += self._own(vectors[half], indices[half], options, seed)
                score_ms += self.score_ms
            self.score_ms = score_ms
            return answers
        self.score_ms = self._network.score_ms
        return answers

    def _believed(self, own: Answer | _Failed, phrase: Answer | None, by: Ranking) -> Answer:
        known = phrase if phrase is not None and phrase.status is RowStatus.OK else None
        why = own.why if isinstance(own, _Failed) else self._under_the_floor(own)
        if isinstance(own, _Failed) or why is not None:
            others = () if isinstance(own, _Failed) else own.candidates
            return _fallback(known, others, by) if known else _no_answer(str(why), phrase, others)
        if known is None:
            return own
        if self._phrase_is_better(own, known, by):
            return _fallback(known, own.candidates, by)
        return replace(own, candidates=_listed(own.candidates, known.candidates, by))

    def _phrase_is_better(self, own: Answer, phrase: Answer, by: Ranking) -> bool:
        cosine = phrase.candidates[0].score
        if by == "encoder" and own.round_trip is not None:
            return own.round_trip + self._config.margin < cosine
        return self._config.known_from is not None and cosine > self._config.known_from

    def _under_the_floor(self, own: Answer) -> str | None:
        overall = own.quality.overall_quality if own.quality else None
        if overall is None or overall >= self._config.floor:
            return None
        return f"the decoding's overall_quality is {overall:.3f}, under the floor of {self._config.floor:.3f}"


def save_hybrid(folder: Path, config: HybridConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_parts(
    folder: Path, decoder: str, bank: str | None, device: str = "auto", precision: Precision = "auto"
) -> tuple[GenerativeDecoder, PhraseBankDecoder | None]:
    """The parts of the hybrid in this folder, by their names."""
    network = GenerativeDecoder.load(_part(folder, decoder), device, precision)
    return network, PhraseBankDecoder.load(_part(folder, bank), device) if bank else None


def _part(folder: Path, name: str) -> Path:
    beside = folder.resolve().parent / name
    return beside if (beside / CONFIG_FILE).is_file() else find(name).path


def _fallback(known: Answer, others: tuple[Candidate, ...], by: Ranking) -> Answer:
    return replace(known, status=RowStatus.FALLBACK, candidates=_listed(known.candidates, others, by))


def _no_answer(why: str, phrase: Answer | None, candidates: tuple[Candidate, ...]) -> Answer:
    bank = "there is no phrase bank" if phrase is None else str(phrase.error)
    return Answer(RowStatus.ERROR, error_code=FailureCode.NO_ANSWER, error=f"{why}; {bank}", candidates=candidates)


def _listed(first: tuple[Candidate, ...], others: tuple[Candidate, ...], by: Ranking) -> tuple[Candidate, ...]:
    """The answer, then the rest: by their cosines where all have one, else as they come. Of equal texts the first."""
    rest = [*first[1:], *others]
    if by == "encoder":
        rest.sort(key=lambda one: -(one.round_trip or 0.0))
    return tuple({one.text: one for one in reversed([first[0], *rest])}.values())[::-1]
