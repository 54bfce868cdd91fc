"""What the charts of the docs share: BLEU upwards from 0, a measure in factors to the right, points with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

MOST_TICKS: Final = 8


@dataclass(frozen=True)
class Frame:
    """A picture, and its margins around the axes, in pixels."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int

    def svg(self, title: str, style: Markup, marks: Iterable[Markup]) -> str:
        head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">')
        return head.format(self.width, self.height, title) + style + Markup("\n").join(marks) + Markup("\n</svg>\n")


class BleuAxes:
    """From `least` to `most`, each step a factor, and from 0 to a little more than the highest BLEU."""

    def __init__(self, frame: Frame, least: float, most: float, highest: float) -> None:
        self.frame = frame
        self.low, self.high = math.log(least), math.log(most)
        self._top = max(1.0, 1.05 * highest)

    def x(self, value: float) -> float:
        share = (math.log(value) - self.low) / (self.high - self.low)
        return self.frame.left + share * (self.frame.width - self.frame.left - self.frame.right)

    def y(self, bleu: float) -> float:
        frame = self.frame
        return frame.height - frame.bottom - bleu / self._top * (frame.height - frame.top - frame.bottom)

    def grid(self, ticks: Iterable[tuple[float, str]], below: str) -> Iterator[Markup]:
        """Lines and their names, and what is measured; `ticks` are those from left to right."""
        frame = self.frame
        line = Markup('<line class="grid" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
        text = Markup('<text class="soft" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        for value, name in ticks:
            yield line.format(self.x(value), frame.top, self.x(value), frame.height - frame.bottom)
            yield text.format(self.x(value), frame.height - frame.bottom + 17, "middle", name)
        for bleu in self._scores():
            yield line.format(frame.left, self.y(bleu), frame.width - frame.right, self.y(bleu))
            yield text.format(frame.left - 8, self.y(bleu) + 4, "end", bleu)
        yield text.format((frame.left + frame.width - frame.right) / 2, frame.height - 10, "middle", below)
        upright = Markup(
            '<text class="soft" transform="translate(16 {:.1f}) rotate(-90)" text-anchor="middle">BLEU</text>'
        )
        yield upright.format((frame.top + frame.height - frame.bottom) / 2)

    def point(self, kind: str, says: str, x: float, bleu: Mapping[str, float], dot: int) -> Markup:
        """With its interval; `kind` is its class, and `says` what it tells who points at it."""
        mark = Markup(
            '<g class="{}"><title>{}</title><line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
            '<circle cx="{:.1f}" cy="{:.1f}" r="{}"/></g>'
        )
        low, high, y = self.y(bleu["low"]), self.y(bleu["high"]), self.y(bleu["value"])
        return mark.format(kind, says, x, low, x, high, x, y, dot)

    def _scores(self) -> Iterator[int]:
        step = next(step for step in (1, 2, 5, 10, 20) if self._top / step <= MOST_TICKS or step == 20)
        yield from range(0, int(self._top) + 1, step)
