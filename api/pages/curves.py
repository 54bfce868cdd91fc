"""How often texts were faithful that a decoder said to be so: what its overall_quality is worth, as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from unembed.api.pages.charts import Dot, dots
from unembed.api.pages.shell import count_of, percent
from unembed.models.decoder.card import Judged, JudgedTenth
from unembed.models.evaluation.intervals import wilson


@dataclass(frozen=True)
class Curve:
    """Of held-out texts that were decoded in one way."""

    way: str  # as a sentence goes on after "decoded"
    texts: int
    tenths: tuple[JudgedTenth, ...]
    dots: list[Dot]

    @classmethod
    def of(cls, way: str, judged: Judged) -> Self | None:
        """None where it was not kept, as by older versions."""
        if not judged.curve:
            return None
        drawn = dots(
            [(one.predicted, one.faithful) for one in judged.curve],
            [wilson(one.faithful, one.rows) for one in judged.curve],
            [_said(one) for one in judged.curve],
        )
        return cls(said_way(way), judged.rows, judged.curve, drawn)

    @property
    def says(self) -> str:
        """All of it in words."""
        return "; ".join(dot.says for dot in self.dots)


def said_way(way: str) -> str:
    """Without the marks of Markdown: "by default", "with --edits 2"."""
    plain = way.replace("`", "")
    return f"with {plain}" if plain.startswith("-") else plain


def _said(one: JudgedTenth) -> str:
    return f"{percent(one.predicted)} expected, {percent(one.faithful)} of {count_of(one.rows, 'text')} faithful"
