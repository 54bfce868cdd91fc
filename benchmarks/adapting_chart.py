"""The chart of docs/adapting.md: how many texts were adapted to, and how good the decoder became."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 24, 48  # margins around the axes; the lines' names are on the right
DOT: Final = 4
NAME_HEIGHT: Final = 16.0  # names nearer to each other than this are moved apart
COLOURS: Final = 4

Point = Mapping[str, Any]


def chart(points: Sequence[Point]) -> str:
    """An SVG of a few kB, light or dark: a line for each embedder, with the 95 % interval of each point."""
    embedders = sorted({point["embedder"] for point in points})
    axes = CountAxes(points)
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    marks = [*axes.grid()]
    names: list[tuple[float, int, str]] = []
    for number, embedder in enumerate(embedders):
        own = sorted((point for point in points if point["embedder"] == embedder), key=lambda point: point["texts"])
        marks += _line(axes, own, number % COLOURS)
        names.append((axes.y(own[-1]["default"]["bleu"]["value"]), number % COLOURS, embedder))
    marks += _names(names)
    title = "BLEU against the number of texts that a decoder was adapted to"
    return head.format(WIDTH, HEIGHT, title) + _STYLE + Markup("\n").join(marks) + Markup("\n</svg>\n")


class CountAxes:
    """Texts from left to right, each step a factor; BLEU from 0 upwards."""

    def __init__(self, points: Sequence[Point]) -> None:
        counts = sorted({point["texts"] for point in points})
        self._counts = counts
        self._low, self._high = math.log(counts[0] / 1.2), math.log(counts[-1] * 1.2)
        self._top: float = max(1.0, 1.05 * max(point["default"]["bleu"]["high"] for point in points))

    def x(self, texts: int) -> float:
        return LEFT + (math.log(texts) - self._low) / (self._high - self._low) * (WIDTH - LEFT - RIGHT)

    def y(self, bleu: float) -> float:
        return HEIGHT - BOTTOM - bleu / self._top * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> Iterator[Markup]:
        line = Markup('<line class="grid" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
        text = Markup('<text class="soft" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        for count in self._counts:
            yield line.format(self.x(count), TOP, self.x(count), HEIGHT - BOTTOM)
            yield text.format(self.x(count), HEIGHT - BOTTOM + 17, "middle", f"{count:,}")
        step = next(step for step in (1, 2, 5, 10, 20) if self._top / step <= 8 or step == 20)
        for bleu in range(0, int(self._top) + 1, step):
            yield line.format(LEFT, self.y(bleu), WIDTH - RIGHT, self.y(bleu))
            yield text.format(LEFT - 8, self.y(bleu) + 4, "end", bleu)
        yield text.format((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "middle", "texts with their embeddings")
        upright = Markup(
            '<text class="soft" transform="translate(16 {:.1f}) rotate(-90)" text-anchor="middle">BLEU</text>'
        )
        yield upright.format((TOP + HEIGHT - BOTTOM) / 2)


def _line(axes: CountAxes, own: Sequence[Point], colour: int) -> Iterator[Markup]:
    places = " ".join(f"{axes.x(p['texts']):.1f},{axes.y(p['default']['bleu']['value']):.1f}" for p in own)
    yield Markup('<polyline class="c{}" points="{}"/>').format(colour, places)
    mark = Markup(
        '<g class="c{}"><title>{}</title><line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
        '<circle cx="{:.1f}" cy="{:.1f}" r="{}"/></g>'
    )
    for point in own:
        bleu, x = point["default"]["bleu"], axes.x(point["texts"])
        says = f"{point['embedder']}, {point['texts']:,} texts: BLEU {bleu['value']:.1f}"
        low, high, y = axes.y(bleu["low"]), axes.y(bleu["high"]), axes.y(bleu["value"])
        yield mark.format(colour, says, x, low, x, high, x, y, DOT)


def _names(names: Sequence[tuple[float, int, str]]) -> Iterator[Markup]:
    """At the lines' ends, the highest first, moved down where they would overlap."""
    text = Markup('<text class="c{}" x="{:.1f}" y="{:.1f}">{}</text>')
    free = 0.0
    for y, colour, name in sorted(names):
        free = max(y + 4, free)
        yield text.format(colour, WIDTH - RIGHT + 8, free, name)
        free += NAME_HEIGHT


_STYLE: Final = Markup("""<style>
text { font: 12px system-ui, sans-serif; stroke: none }
.soft { fill: #57606a } .grid { stroke: #8884 }
polyline { fill: none; stroke: currentColor; stroke-width: 1.5 }
g line { stroke: currentColor; stroke-width: 1.5; opacity: .45 }
g circle, text[class^=c] { fill: currentColor }
.c0 { color: #1f6feb } .c1 { color: #bc4c00 } .c2 { color: #1a7f37 } .c3 { color: #57606a }
@media (prefers-color-scheme: dark) {
.soft { fill: #9aa4af } .c0 { color: #6cb0ff } .c1 { color: #ff9a57 } .c2 { color: #56d364 } .c3 { color: #c4ccd4 }
}
</style>
""")
