"""Pictures as SVG: a template draws the shapes that are reckoned here, and a page says the same in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HEIGHT: Final = 100.0  # of a picture, in its own units


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    says: str  # what it stands for, in words


def bars(values: Sequence[float], says: Sequence[str], *, top: float, gap: float = 0.2) -> list[Bar]:
    """A bar for each value, a unit wide with its gap; `top` is as high as the picture."""
    drawn = []
    for place, (value, words) in enumerate(zip(values, says, strict=True)):
        height = round(HEIGHT * value / top, 2) if top else 0.0
        drawn.append(Bar(round(place + gap / 2, 2), round(HEIGHT - height, 2), round(1 - gap, 2), height, words))
    return drawn


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    high: float  # where its interval begins, at the top
    low: float
    says: str


def dots(
    places: Sequence[tuple[float, float]], intervals: Sequence[tuple[float, float]], says: Sequence[str]
) -> list[Dot]:
    """A dot at each (x, y), both 0 to 1, with the interval of y; x is as long as ten bars of a unit."""
    return [
        Dot(round(10 * x, 2), _height(y), _height(high), _height(low), words)
        for (x, y), (low, high), words in zip(places, intervals, says, strict=True)
    ]


def _height(share: float) -> float:
    return round(HEIGHT * (1 - share), 2)
