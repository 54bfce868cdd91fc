"""What was measured, as tables; and the page made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Final

from markupsafe import Markup

from benchmarks.measuring import Spread

PLOT: Final = "benchmarks/ratios.svg"
WIDTH, LINE, LEFT, RIGHT = 760, 26, 380, 130  # of the plot: pixels, a line's height, the margins of the bars

HOW_TO_READ: Final = """\
Each ratio compares two things that were measured in the same run, on the same vectors and the same cores, in turns.
The first number is the median of the rounds; those in brackets are the least and the greatest round. "Over CTranslate2:
2.0" means that CTranslate2 takes twice the CPU time of Unembed for the same rows, so above 1 Unembed is faster. What is
marked "a cost" is the other way round: less is better, and 1 is as good as what it is compared with. Rows per second
are rows per CPU second of one core, unless they are "on the clock". They tell you about this machine only; the ratios
are what you may expect to find on another one of its kind.

- **Over the plain loop** is what the engine in C++ gains over the same decoding in plain torch, which is its reference.
- **Over the commit before** compares with this project before it had that engine, through the same call.
- **Share of the roofline**: at 1.0 the core would do nothing but multiply matrices, at the speed that torch multiplies
  matrices of these shapes. Above that, the engine multiplies them faster than torch does on this CPU.
- **Natural ends** means that texts differ in length, as they do in practice. A decoder that waits for the longest text
  of a batch loses time there. **18 pieces** means that all are of the same length.
- **CPU over the bare loop** is the cost of the path: what the queue, the database, the API and the client take beside
  the decoding itself. At 1.2 they take a fifth of what the decoding takes.
- **A share of raw Redis and a database** is how fast the path is when decoding takes no time at all, beside one process
  that does the least that could be done. At 0.5 it is half as fast. The share matters only where decoding is so fast
  that the path would hold it up.
"""


@dataclass(frozen=True)
class Grid:
    """A table."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        return f"**{self.title}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True)
class Section:
    """One question, its tables, and how they were measured; `headlines` go to the top of the page and into the plot."""

    title: str
    grids: Sequence[Grid]
    method: str
    headlines: dict[str, Spread] = field(default_factory=dict)

    def markdown(self) -> str:
        grids = "\n\n".join(grid.markdown() for grid in self.grids)
        return f"## {self.title}\n\n{grids}\n\n{fill(' '.join(self.method.split()), 120)}\n"


def gpu_section(page: str) -> str:
    """Of a page that was written before: `make bench-gpu` measures it, on another machine. Empty if there is none."""
    found = re.search(r"^## On a GPU\n.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return found[0].strip() if found else ""


def page(machine: Sequence[tuple[str, str]], sections: Sequence[Section], missing: Sequence[str], gpu: str = "") -> str:
    headlines = {name: spread for section in sections for name, spread in section.headlines.items()}
    parts = [
        "# Benchmarks",
        "Written by `make bench`; to be made again, not edited. Only a section on a GPU, from `make bench-gpu`, stays.",
        Grid("In short", ("", "ratio"), [(name, f"{spread:.2f}") for name, spread in headlines.items()]).markdown(),
    ]
    if headlines:
        parts.append(f"![The ratios of the table above, as bars]({PLOT})")
    parts += [
        Grid("Measured on", ("", ""), machine).markdown(),
        f"## How to read this\n\n{HOW_TO_READ.strip()}",
        *(section.markdown().strip() for section in sections),
    ]
    if gpu:
        parts.append(gpu)
    if missing:
        parts.append("## Not measured\n\n" + "\n".join(f"- {line}" for line in missing))
    return "\n\n".join(parts) + "\n"


def plot(headlines: dict[str, Spread]) -> str:
    """Bars from 0, each with its least and greatest round, and a line at 1: an SVG of a few kB, light or dark."""
    top = max(spread.most for spread in headlines.values())
    height = LINE * len(headlines) + 30

    def x(value: float) -> float:
        return LEFT + value / top * (WIDTH - LEFT - RIGHT)

    marks = []
    bar = Markup(
        '<text x="{left}" y="{text:.0f}" text-anchor="end">{name}</text>'
        '<rect class="bar" x="{zero}" y="{y:.0f}" width="{width:.1f}" height="14"/>'
        '<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.0f}" y2="{middle:.0f}"/>'
        '<text x="{end:.1f}" y="{text:.0f}">{value:.2f}</text>'
    )
    for number, (name, spread) in enumerate(headlines.items()):
        y = LINE * number + 8
        places = {"y": y, "text": y + 12, "middle": y + 7, "left": LEFT - 8, "zero": LEFT}
        ends = {
            "low": x(spread.least),
            "high": x(spread.most),
            "end": x(spread.most) + 6,
            "width": x(spread.median) - LEFT,
        }
        marks.append(bar.format(name=name, value=spread.median, **places, **ends))
    one = Markup('<line class="one" x1="{0:.1f}" x2="{0:.1f}" y1="2" y2="{1}"/>').format(x(1.0), height - 22)
    label = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">1</text>').format(x(1.0), height - 8)
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img">').format(WIDTH, height)
    return head + _STYLE + Markup("").join(marks) + one + label + Markup("</svg>\n")


_STYLE: Final = Markup("""<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.bar { fill: #4c7dbd } .spread { stroke: #16325c; stroke-width: 2 } .one { stroke: #777; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) { text { fill: #d0d7de } .spread { stroke: #d7e5fa } }
</style>""")
