"""The chart of docs/adapting.md: how many texts were adapted to, and how good the decoder became."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from benchmarks.bleu_axes import BleuAxes, Frame

# The lines' names are on the right.
FRAME: Final = Frame(width=760, height=420, left=56, right=150, top=24, bottom=48)
DOT: Final = 4
NAME_HEIGHT: Final = 16.0  # names nearer to each other than this are moved apart
COLOURS: Final = 4

Point = Mapping[str, Any]


def chart(points: Sequence[Point]) -> str:
    """An SVG of a few kB, light or dark: a line for each embedder, with the 95 % interval of each point, of those that
    had no other texts."""
    points = [one for one in points if not one["more_texts"]]
    embedders = sorted({point["embedder"] for point in points})
    counts = sorted({point["texts"] for point in points})
    highest = max(point["default"]["bleu"]["high"] for point in points)
    axes = BleuAxes(FRAME, counts[0] / 1.2, counts[-1] * 1.2, highest)
    marks = [*axes.grid(((count, f"{count:,}") for count in counts), "texts with their embeddings")]
    names: list[tuple[float, int, str]] = []
    for number, embedder in enumerate(embedders):
        own = sorted((point for point in points if point["embedder"] == embedder), key=lambda point: point["texts"])
        marks += _line(axes, own, number % COLOURS)
        names.append((axes.y(own[-1]["default"]["bleu"]["value"]), number % COLOURS, embedder))
    marks += _names(names)
    title = "BLEU against the number of texts that a decoder was adapted to"
    return FRAME.svg(title, _STYLE, marks)


def _line(axes: BleuAxes, own: Sequence[Point], colour: int) -> Iterator[Markup]:
    places = " ".join(f"{axes.x(p['texts']):.1f},{axes.y(p['default']['bleu']['value']):.1f}" for p in own)
    yield Markup('<polyline class="c{}" points="{}"/>').format(colour, places)
    for point in own:
        bleu = point["default"]["bleu"]
        says = f"{point['embedder']}, {point['texts']:,} texts: BLEU {bleu['value']:.1f}"
        yield axes.point(f"c{colour}", says, axes.x(point["texts"]), bleu, DOT)


def _names(names: Sequence[tuple[float, int, str]]) -> Iterator[Markup]:
    """At the lines' ends, the highest first, moved down where they would overlap."""
    text = Markup('<text class="c{}" x="{:.1f}" y="{:.1f}">{}</text>')
    free = 0.0
    for y, colour, name in sorted(names):
        free = max(y + 4, free)
        yield text.format(colour, FRAME.width - FRAME.right + 8, free, name)
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
