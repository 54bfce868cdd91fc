"""How good a job's texts are, beside what is known of how far the decoder can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from unembed.api.pages.curves import Curve, said_way
from unembed.errors import CheckpointError, UnknownDecoderError
from unembed.models.decoder import catalog
from unembed.models.decoder.card import Judged, JudgedTenth, evaluation_of
from unembed.models.decoder.config import CheckpointConfig, HybridConfig
from unembed.models.decoder.ways import nearest_way
from unembed.schemas import DecodeOptions

_SHOWN: Final = 10  # bars
_HEIGHT: Final = 100.0


@dataclass(frozen=True)
class Tenth:
    """The rows whose overall_quality is in one tenth of 0 to 1."""

    low: float
    rows: int
    faithful: float  # of those rows, as the decoder estimates it
    height: float
    filled: float  # of the height


@dataclass(frozen=True)
class Judgement:
    """What the decoder's estimates are worth."""

    outcome: str  # what faithful means
    way: str | None = None  # how the texts were decoded that it was checked on, most like the job's own
    checked: Judged | None = None  # on texts that they were not fitted to
    curve: Curve | None = None

    def tenth(self, number: int) -> JudgedTenth | None:
        """Of the held-out texts, those whose overall_quality is in this tenth."""
        tenths = self.curve.tenths if self.curve else ()
        return next((one for one in tenths if one.tenth == number), None)


@dataclass(frozen=True)
class QualityPicture:
    scored: int
    faithful: float  # rows
    tenths: list[Tenth]
    judgement: Judgement | None  # None: the decoder is not calibrated, or is not here


def quality_picture(spread: Sequence[int], decoder: str, options: DecodeOptions) -> QualityPicture | None:
    """None where no row has a quality."""
    scored = sum(spread)
    if not scored:
        return None
    a_tenth = len(spread) // _SHOWN
    tenths, most = [], max(sum(spread[at : at + a_tenth]) for at in range(0, len(spread), a_tenth))
    for at in range(0, len(spread), a_tenth):
        rows = sum(spread[at : at + a_tenth])
        faithful = sum(count * (at + k + 0.5) / len(spread) for k, count in enumerate(spread[at : at + a_tenth]))
        height = _HEIGHT * rows / most
        filled = height * faithful / rows if rows else 0.0
        tenths.append(Tenth(at / len(spread), rows, faithful, round(height, 2), round(filled, 2)))
    return QualityPicture(scored, sum(tenth.faithful for tenth in tenths), tenths, _judgement(decoder, options))


def _judgement(decoder: str, options: DecodeOptions) -> Judgement | None:
    with suppress(UnknownDecoderError, CheckpointError):
        entry = catalog.find(decoder)
        folder, config = entry.path, entry.config
        if isinstance(config, HybridConfig):
            folder = catalog.part_of(folder, config.decoder)
            config = catalog.read_config(folder)
        if isinstance(config, CheckpointConfig) and config.calibration is not None:
            judged = evaluation_of(folder).judged
            way = nearest_way(options, judged)
            if way is None:
                return Judgement(config.calibration.outcome)
            return Judgement(config.calibration.outcome, said_way(way), judged[way], Curve.of(way, judged[way]))
    return None
