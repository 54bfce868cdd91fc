"""The axes of all figures, and the three of the report, as SVG that takes its colours from the page.

Drawn here and not by a plotting library: each is two axes and a few marks, so this is hardly longer than the calls
would be; the text stays text, to be found, copied and read aloud; and the colours follow the page into the dark. What
is put into them is numbers and fixed words, and `Markup.format` escapes all the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from markupsafe import Markup

from unembed.models.evaluation.analysis import Floats, Trust
from unembed.models.evaluation.intervals import wilson

WIDTH: Final = 340
HEIGHT: Final = 260
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 40  # margins around the axes
BARS: Final = 20
MOST_TICKS: Final = 5
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """What an axis reaches from and to, and where it is labelled."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        return (float(value) - self.low) / (self.high - self.low)

    @classmethod
    def counts(cls, top: float) -> Scale:
        """From 0 to `top`, labelled at whole numbers."""
        step = next(s * 10**p for p in range(9) for s in (1, 2, 5) if top / (s * 10**p) <= MOST_TICKS)
        return cls(0.0, top, tuple((float(value), f"{value:,}") for value in range(0, int(top) + 1, step)))

    @classmethod
    def around(cls, values: Iterable[float]) -> Scale:
        """As much as holds all of the values, from one round number to another."""
        known = [float(value) for value in values] or [0.0, 1.0]
        low, high = min(known), max(known)
        spread = high - low or abs(high) or 1.0
        power = 10.0 ** math.floor(math.log10(spread / MOST_TICKS))
        step = next(s * power for s in (1, 2, 5, 10) if spread / (s * power) <= MOST_TICKS)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        ticks = tuple((number * step, f"{number * step:,.{digits}f}") for number in range(first, last + 1))
        return cls(first * step, last * step, ticks)


SHARES: Final = Scale(0.0, 1.0, tuple((tick / 4, f"{tick / 4:.0%}") for tick in range(5)))


class Axes:
    """A plot; values are in the units of its two scales."""

    def __init__(self, title: str, x_label: str, y_label: str, x: Scale = SHARES, y: Scale = SHARES) -> None:
        self._title = title
        self._scales = (x, y)
        self._marks: list[Markup] = []
        for value, label in x.ticks:
            self._grid(value, y.low, value, y.high)
            self._text(self._x(value), HEIGHT - BOTTOM + 16, label, "middle")
        for value, label in y.ticks:
            self._grid(x.low, value, x.high, value)
            self._text(LEFT - 6, self._y(value) + 4, label, "end")
        self._text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label, "middle", "label")
        upright = Markup(
            '<text class="label" text-anchor="middle" transform="translate(11 {:.1f}) rotate(-90)">{}</text>'
        )
        self._marks.append(upright.format((TOP + HEIGHT - BOTTOM) / 2, y_label))

    def _x(self, x: float) -> float:
        return LEFT + self._scales[0].share(x) * (WIDTH - LEFT - RIGHT)

    def _y(self, y: float) -> float:
        return HEIGHT - BOTTOM - self._scales[1].share(y) * (HEIGHT - TOP - BOTTOM)

    def _text(self, x: float, y: float, text: str, anchor: str, kind: str = "tick") -> None:
        mark = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        self._marks.append(mark.format(kind, x, y, anchor, text))

    def _grid(self, x1: float, y1: float, x2: float, y2: float) -> None:
        mark = Markup('<line class="grid" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
        self._marks.append(mark.format(self._x(x1), self._y(y1), self._x(x2), self._y(y2)))

    def line(self, points: Points, kind: str) -> None:
        places = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        self._marks.append(Markup('<polyline class="{}" points="{}"/>').format(kind, places))

    def dot(self, x: float, y: float, low: float, high: float, says: str) -> None:
        """A point with its interval; `says` is shown when it is pointed at."""
        mark = Markup(
            '<g><title>{}</title><line class="whisker" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
            '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="4"/></g>'
        )
        at, height = self._x(x), self._y(y)
        self._marks.append(mark.format(says, at, self._y(low), at, self._y(high), at, height))

    def upright(self, x: float, says: str) -> None:
        """A dashed line at a value of x; `says` is shown when it is pointed at."""
        mark = Markup('<g><title>{}</title><line class="ideal" x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}"/></g>')
        at = self._x(x)
        self._marks.append(mark.format(says, at, TOP, at, HEIGHT - BOTTOM))

    def bar(self, left: float, right: float, low: float, high: float, kind: str, says: str) -> None:
        mark = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
        x, y = self._x(left), self._y(high)
        self._marks.append(mark.format(kind, x + 0.5, y, self._x(right) - x - 1, self._y(low) - y, says))

    def svg(self) -> Markup:
        head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, self._title)
        return head + Markup("").join(self._marks) + Markup("</svg>")


def reliability_figure(trust: Trust) -> Markup:
    axes = Axes("Reliability diagram", "mean overall_quality", "share faithful")
    axes.line([(0, 0), (1, 1)], "ideal")
    for one in trust.summary.curve:
        low, high = wilson(one.faithful, one.rows)
        says = f"{one.rows:,} rows: {one.predicted:.0%} expected, {one.faithful:.0%} faithful"
        axes.dot(one.predicted, one.faithful, low, high, says)
    return axes.svg()


def risk_figure(trust: Trust) -> Markup:
    axes = Axes("Risk-coverage curve", "share of rows kept, most certain first", "share not faithful")
    base = 1.0 - trust.summary.base_rate
    axes.line([(0, base), (1, base)], "ideal")
    axes.line(_points(trust.coverage, trust.best_risk), "best")
    axes.line(_points(trust.coverage, trust.risk), "curve")
    return axes.svg()


def quality_figure(trust: Trust) -> Markup:
    edges = np.linspace(0, 1, BARS + 1)
    faithful, others = (np.histogram(values, edges)[0] for values in (trust.faithful, trust.others))
    highest = max(2.0, 1.05 * float((faithful + others).max()))
    axes = Axes("Distribution of overall_quality", "overall_quality", "rows", y=Scale.counts(highest))
    for left, right, good, bad in zip(edges[:-1], edges[1:], faithful, others, strict=True):
        where = f"{left:.0%} to {right:.0%}"
        axes.bar(left, right, 0, good, "good", f"{where}: {good:,} faithful")
        axes.bar(left, right, good, good + bad, "bad", f"{where}: {bad:,} not faithful")
    return axes.svg()


def _points(x: Floats, y: Floats) -> Points:
    return list(zip(x.tolist(), y.tolist(), strict=True))
