"""What a decoder's folder says of it for people: its card, and how well it did. Free of torch, for the pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

CARD_FILE: Final = "README.md"
SCORES_FILE: Final = "scores.json"  # beside the card, for machines
MOST_CHARACTERS: Final = 200_000  # of a card that is read


class _Read(BaseModel):
    """Of what training wrote, the part that is shown; an older version may have written less."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SetScores(_Read):
    """How well the texts of a set came back that were not trained on."""

    rows: int
    bleu: float | None = None
    word_f1: float | None = None
    exact: float | None = None  # the share of rows that came back character by character
    round_trip: float | None = None


class JudgedTenth(_Read):
    """Texts whose overall_quality is in one tenth of 0 to 1."""

    tenth: Annotated[int, Field(ge=0, le=9)]
    rows: int
    predicted: float  # their mean overall_quality
    faithful: float  # the share of them that is faithful


class Judged(_Read):
    """How well overall_quality told the faithful texts of one way to decode from the others."""

    rows: int
    base_rate: float  # the share of faithful texts
    auroc: float | None = None
    ece: float | None = None
    curve: tuple[JudgedTenth, ...] = ()  # without empty tenths; empty where an older version did not keep it


class Evaluation(_Read):
    scores: Mapping[str, SetScores] = {}  # by the set
    decoded: str | None = None  # how the sets were; None: the card says so
    calibration: Mapping[str, Judged] | None = None  # by how was decoded; None: it is not calibrated
    seen_calibration: Mapping[str, Judged] | None = None  # the same where the texts were embedded again

    @property
    def judged(self) -> Mapping[str, Judged]:
        """Both."""
        return {**(self.calibration or {}), **(self.seen_calibration or {})}


def card_of(folder: Path) -> str | None:
    """The model card, as Markdown; None without one."""
    try:
        return (folder / CARD_FILE).read_text(encoding="utf-8", errors="replace")[:MOST_CHARACTERS]
    except OSError:
        return None


def evaluation_of(folder: Path) -> Evaluation:
    """What is known of how well it does; empty for a decoder that was not evaluated, or otherwise than ours are."""
    try:
        return Evaluation.model_validate_json((folder / SCORES_FILE).read_bytes())
    except (OSError, ValidationError):
        return Evaluation()
