"""The chart of docs/quality.md: what each way of decoding costs, and how good its texts are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from markupsafe import Markup

from benchmarks.bleu_axes import BleuAxes, Frame
from benchmarks.quality_ways import KINDS

FRAME: Final = Frame(width=760, height=500, left=56, right=24, top=40, bottom=48)
DOT: Final = 5
LETTER, LINE = 6.6, 15.0  # of a label: the width of a letter and the height, in pixels
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


INSIDE: Final = Box(FRAME.left, FRAME.top, FRAME.width - FRAME.right, FRAME.height - FRAME.bottom)


def chart(one: Mapping[str, Any]) -> str:
    """Of one set: an SVG of a few kB, light or dark."""
    ways: Sequence[Found] = one["ways"]
    times = [way["ms"]["value"] for way in ways]
    axes = BleuAxes(FRAME, min(times) / 1.5, max(times) * 1.5, max(way["bleu"]["high"] for way in ways))
    marks = [
        *axes.grid(((time, f"{time:g}") for time in _times(axes)), "CPU milliseconds a row, one thread"),
        _line(axes, ways),
        *(_point(axes, way) for way in ways),
        *_labels(axes, ways),
        *_legend(ways),
    ]
    title = f"BLEU against CPU time a row, {one['name']}"
    return FRAME.svg(title, _STYLE, marks)


def frontier(ways: Sequence[Found]) -> list[Found]:
    """Those that none beats in both time and BLEU, the fastest first."""
    found: list[Found] = []
    for way in sorted(ways, key=lambda way: (way["ms"]["value"], -way["bleu"]["value"])):
        if not found or way["bleu"]["value"] > found[-1]["bleu"]["value"]:
            found.append(way)
    return found


def _times(axes: BleuAxes) -> Iterator[float]:
    """1, 2, 5, 10, ... milliseconds, and parts of them."""
    for power in range(-6, 7):
        for step in (1, 2, 5):
            value = step * 10.0**power
            if axes.low <= math.log(value) <= axes.high:
                yield value


def _line(axes: BleuAxes, ways: Sequence[Found]) -> Markup:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(axes, way) for way in frontier(ways)))
    return Markup('<polyline class="best" points="{}"/>').format(places)


def _point(axes: BleuAxes, way: Found) -> Markup:
    says = f"{way['name']}: BLEU {way['bleu']['value']:.1f} at {way['ms']['value']:.2f} ms a row"
    return axes.point(way["kind"], says, axes.x(way["ms"]["value"]), way["bleu"], DOT)


def _place(axes: BleuAxes, way: Found) -> tuple[float, float]:
    return axes.x(way["ms"]["value"]), axes.y(way["bleu"]["value"])


def _labels(axes: BleuAxes, ways: Sequence[Found]) -> Iterator[Markup]:
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


def _along(axes: BleuAxes, ways: Sequence[Found]) -> Iterator[Box]:
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
    x = float(FRAME.left)
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
