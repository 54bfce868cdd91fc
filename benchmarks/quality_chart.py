"""The chart of docs/quality.md: what each way of decoding costs, and how good its texts are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from markupsafe import Markup

from benchmarks.quality_ways import KINDS

WIDTH, HEIGHT = 760, 500
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 40, 48  # margins around the axes
DOT: Final = 5
LETTER, LINE = 6.6, 15.0  # of a label: the width of a letter and the height, in pixels
MOST_TICKS: Final = 8
STEPS: Final = 24  # of each stretch of the line, as labels keep clear of it
Found = Mapping[str, Any]  # as in the JSON


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """In square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


INSIDE: Final = Box(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)


class QualityAxes:
    """Milliseconds from left to right, each step a factor; BLEU from 0 upwards."""

    def __init__(self, ways: Sequence[Found]) -> None:
        times = [way["ms"]["value"] for way in ways]
        self._low, self._high = math.log(min(times) / 1.5), math.log(max(times) * 1.5)
        self._top: float = max(1.0, 1.05 * max(way["bleu"]["high"] for way in ways))

    def x(self, milliseconds: float) -> float:
        share = (math.log(milliseconds) - self._low) / (self._high - self._low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, bleu: float) -> float:
        return HEIGHT - BOTTOM - bleu / self._top * (HEIGHT - TOP - BOTTOM)

    def times(self) -> Iterator[float]:
        """1, 2, 5, 10, ... milliseconds, and parts of them."""
        for power in range(-6, 7):
            for step in (1, 2, 5):
                value = step * 10.0**power
                if self._low <= math.log(value) <= self._high:
                    yield value

    def scores(self) -> Iterator[int]:
        step = next(step for step in (1, 2, 5, 10, 20) if self._top / step <= MOST_TICKS or step == 20)
        yield from range(0, int(self._top) + 1, step)


def chart(one: Mapping[str, Any]) -> str:
    """Of one set: an SVG of a few kB, light or dark."""
    ways: Sequence[Found] = one["ways"]
    axes = QualityAxes(ways)
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    marks = [
        *_grid(axes),
        _line(axes, ways),
        *(_point(axes, way) for way in ways),
        *_labels(axes, ways),
        *_legend(ways),
    ]
    title = f"BLEU against CPU time a row, {one['name']}"
    return head.format(WIDTH, HEIGHT, title) + _STYLE + Markup("\n").join(marks) + Markup("\n</svg>\n")


def frontier(ways: Sequence[Found]) -> list[Found]:
    """Those that none beats in both time and BLEU, the fastest first."""
    found: list[Found] = []
    for way in sorted(ways, key=lambda way: (way["ms"]["value"], -way["bleu"]["value"])):
        if not found or way["bleu"]["value"] > found[-1]["bleu"]["value"]:
            found.append(way)
    return found


def _grid(axes: QualityAxes) -> Iterator[Markup]:
    line = Markup('<line class="grid" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
    text = Markup('<text class="soft" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    for time in axes.times():
        yield line.format(axes.x(time), TOP, axes.x(time), HEIGHT - BOTTOM)
        yield text.format(axes.x(time), HEIGHT - BOTTOM + 17, "middle", f"{time:g}")
    for score in axes.scores():
        yield line.format(LEFT, axes.y(score), WIDTH - RIGHT, axes.y(score))
        yield text.format(LEFT - 8, axes.y(score) + 4, "end", score)
    yield text.format((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "middle", "CPU milliseconds a row, one thread")
    upright = Markup('<text class="soft" transform="translate(16 {:.1f}) rotate(-90)" text-anchor="middle">BLEU</text>')
    yield upright.format((TOP + HEIGHT - BOTTOM) / 2)


def _line(axes: QualityAxes, ways: Sequence[Found]) -> Markup:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(axes, way) for way in frontier(ways)))
    return Markup('<polyline class="best" points="{}"/>').format(places)


def _point(axes: QualityAxes, way: Found) -> Markup:
    mark = Markup(
        '<g class="{}"><title>{}</title><line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
        '<circle cx="{:.1f}" cy="{:.1f}" r="{}"/></g>'
    )
    (x, y), bleu = _place(axes, way), way["bleu"]
    says = f"{way['name']}: BLEU {bleu['value']:.1f} at {way['ms']['value']:.2f} ms a row"
    return mark.format(way["kind"], says, x, axes.y(bleu["low"]), x, axes.y(bleu["high"]), x, y, DOT)


def _place(axes: QualityAxes, way: Found) -> tuple[float, float]:
    return axes.x(way["ms"]["value"]), axes.y(way["bleu"]["value"])


def _labels(axes: QualityAxes, ways: Sequence[Found]) -> Iterator[Markup]:
    """Each name where it covers least; joined to its point where that is some way off."""
    taken = [Box(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in (_place(axes, way) for way in ways)]
    strokes = [*_along(axes, frontier(ways))]
    strokes += [
        Box(_place(axes, way)[0] - 1, axes.y(way["bleu"]["high"]), _place(axes, way)[0] + 1, axes.y(way["bleu"]["low"]))
        for way in ways
    ]
    for way in ways:
        x, y = _place(axes, way)
        width = LETTER * (1.1 if way["name"] == "default" else 1.0) * len(way["name"])
        boxes = [_box(x, y, angle, away, width) for away in (10, 20, 32, 46) for angle in range(0, 360, 30)]
        best = min(range(len(boxes)), key=lambda place: _cost(boxes[place], taken, strokes) + place)
        box = boxes[best]
        taken.append(box)
        if best >= 12:
            lead = Markup('<line class="lead" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
            yield lead.format(x, y, min(max(x, box.left), box.right), min(max(y, box.top), box.bottom))
        bold = " default" if way["name"] == "default" else ""
        text = Markup('<text class="{}{}" x="{:.1f}" y="{:.1f}">{}</text>')
        yield text.format(way["kind"], bold, box.left, box.bottom - 4, way["name"])


def _along(axes: QualityAxes, ways: Sequence[Found]) -> Iterator[Box]:
    """What the line through these takes up, in steps."""
    for before, after in pairwise(_place(axes, way) for way in ways):
        for share in (step / STEPS for step in range(STEPS)):
            x, y = (a + share * (b - a) for a, b in zip(before, after, strict=True))
            yield Box(x - 3, y - 3, x + 3, y + 3)


def _box(x: float, y: float, angle: float, away: float, width: float) -> Box:
    """Of a label in this direction from its point (0 is right, 90 is below)."""
    across, down = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    left = x + across * away - (width / 2) * (1 - across)
    top = y + down * away - (LINE / 2) * (1 - down)
    return Box(left, top, left + width, top + LINE)


def _cost(box: Box, taken: Sequence[Box], strokes: Sequence[Box]) -> float:
    own = (box.right - box.left) * (box.bottom - box.top)
    outside = own - box.overlap(INSIDE)
    return 10 * outside + 3 * sum(map(box.overlap, taken)) + sum(map(box.overlap, strokes))


def _legend(ways: Sequence[Found]) -> Iterator[Markup]:
    x = float(LEFT)
    for kind, says in KINDS.items():
        if any(way["kind"] == kind for way in ways):
            mark = Markup('<g class="{}"><circle cx="{:.1f}" cy="18" r="{}"/><text x="{:.1f}" y="22">{}</text></g>')
            yield mark.format(kind, x + DOT, DOT, x + 16, says)
            x += 16 + LETTER * len(says) + 22


_STYLE: Final = Markup("""<style>
text { font: 12px system-ui, sans-serif; stroke: none } .default { font-weight: bold }
.soft { fill: #57606a } .grid { stroke: #8884 } .lead { stroke: #888; stroke-width: .8 }
.best { fill: none; stroke: #888; stroke-width: 1.5; stroke-dasharray: 5 4 }
g line { stroke: currentColor; stroke-width: 1.5; opacity: .45 }
.decoder { fill: #57606a; color: #57606a } .sketch { fill: #1f6feb; color: #1f6feb }
.encoder { fill: #bc4c00; color: #bc4c00 } .bank { fill: #1a7f37; color: #1a7f37 }
@media (prefers-color-scheme: dark) {
.soft { fill: #9aa4af } .decoder { fill: #c4ccd4; color: #c4ccd4 } .sketch { fill: #6cb0ff; color: #6cb0ff }
.encoder { fill: #ff9a57; color: #ff9a57 } .bank { fill: #56d364; color: #56d364 }
}
</style>
""")
