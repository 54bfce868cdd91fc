"""The pictures of docs/training.md: `make pictures` trains and tunes for a few minutes on the example sentences.

The decoder that ships is trained further, on vectors that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from markupsafe import Markup
from rich.console import Console

from benchmarks.asked import say
from unembed.cli.tune import table_of
from unembed.models.evaluation.figures import HEIGHT, WIDTH
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.curves import Figure, figures
from unembed.models.training.greedy import GreedyScorer
from unembed.models.training.loop import Run
from unembed.models.training.material import gather
from unembed.models.training.plan import Plan
from unembed.models.training.recipe import Progress, Recipe
from unembed.models.training.tune import SearchLimits, tune

EXAMPLES: Final = Path("examples/sentences.parquet")
OUT: Final = Path("docs/training")
HELD_OUT: Final = 100  # sentences
DIM: Final = 320
BASE: Final = "ret-v21-minilm"
CURVES: Final = Recipe(epochs=20, batch_pieces=1024, peak_learning_rate=1e-3, warmup_steps=20, average_decay=0.97)
SEARCH: Final = SearchLimits(trials=8, epochs=3)
SHOWN: Final = 4  # of the figures: not the speed, which is that of a machine
TITLE, GAP, COLUMNS = 26, 24, 2  # pixels above a figure and between two, figures in a row

_STYLE: Final = """
svg { --paper: #fff; --ink: #1d2024; --soft: #5d656f; --line: #dfe3e8; --accent: #1f5fbf; --best: #3a8a5c; --third: #b5651d; --fourth: #7a4fb0 }
@media (prefers-color-scheme: dark) { svg { --paper: #15181c; --ink: #e4e7eb; --soft: #98a1ac; --line: #2c323a; --accent: #74a9f7; --best: #6cc394; --third: #e5a05c; --fourth: #b99bec } }
text { font: 11px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--soft) }
.label { fill: var(--ink) } .title { fill: var(--ink); font-weight: 600; font-size: 13px }
.grid { stroke: var(--line) } polyline { fill: none; stroke-linejoin: round }
.ideal { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 4 4 }
.curve { stroke: var(--accent); stroke-width: 2.2 } .best { stroke: var(--best); stroke-width: 1.5 }
.third { stroke: var(--third); stroke-width: 1.8 } .fourth { stroke: var(--fourth); stroke-width: 1.8 }
"""  # noqa: E501 - that of the page, whose colours follow the reader's into the dark
_FONTS: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # from elsewhere


def main() -> None:
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        sets = _sets(Path(folder))
        (OUT / "curves.svg").write_text(sheet(figures(_reports(Path(folder), sets))[:SHOWN]), encoding="utf-8")
        say(f"wrote {OUT / 'curves.svg'}")
        plan = _plan(Path(folder) / "search", sets, Recipe(batch_pieces=1024))
        console = Console(record=True, width=100, file=(Path(folder) / "shown").open("w", encoding="utf-8"))
        console.print(table_of(tune(plan, SEARCH, say)))
        (OUT / "tune.svg").write_text(_FONTS.sub("", console.export_svg(title="unembed tune")), encoding="utf-8")
        say(f"wrote {OUT / 'tune.svg'}")


def sheet(drawn: Sequence[Figure]) -> str:
    """Figures beside and below each other, each with its title and its key."""
    rows = -(-len(drawn) // COLUMNS)
    width, height = COLUMNS * (WIDTH + GAP), rows * (HEIGHT + TITLE + GAP)
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    marks = [head.format(width, height, "The figures of training.html"), Markup(f"<style>{_STYLE}</style>")]  # noqa: S704
    marks.append(Markup('<rect width="{}" height="{}" style="fill: var(--paper)"/>').format(width, height))
    for place, figure in enumerate(drawn):
        x, y = place % COLUMNS * (WIDTH + GAP) + GAP / 2, place // COLUMNS * (HEIGHT + TITLE + GAP) + GAP / 2
        marks.append(_titled(figure, x, y))
    return Markup("\n").join([*marks, Markup("</svg>")]) + "\n"


def _titled(figure: Figure, x: float, y: float) -> Markup:
    key = Markup('<tspan style="fill: var(--{})" dx="10">{} {}</tspan>')
    keys = [key.format(one.colour, one.name, one.last) for one in figure.key]
    title = Markup('<text x="{}" y="14"><tspan class="title">{}</tspan>{}</text>')
    places = f'<svg x="0" y="{TITLE}" width="{WIDTH}" height="{HEIGHT}" '
    svg = Markup(str(figure.svg).replace("<svg ", places, 1))  # noqa: S704 - it was made by us
    told = title.format(6, figure.title, Markup("").join(keys))
    return Markup('<g transform="translate({} {})">{}{}</g>').format(x, y, told, svg)


def _sets(folder: Path) -> tuple[TextSet, TextSet]:
    """The sentences, with vectors as if of another embedder: their own, turned at random and cut short."""
    table = pq.read_table(EXAMPLES)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(384, 384)))[0][:, :DIM]
    vectors = np.asarray(table["embedding"].to_pylist(), np.float32) @ turned.astype(np.float32)
    table = pa.table({"text": table["text"], "embedding": list(vectors)})
    pq.write_table(table[HELD_OUT:], folder / "mine.parquet")
    pq.write_table(table[:HELD_OUT], folder / "held-out.parquet")
    return TextSet("mine", folder / "mine.parquet"), TextSet("held-out", folder / "held-out.parquet")


def _plan(folder: Path, sets: tuple[TextSet, TextSet], recipe: Recipe) -> Plan:
    mine, held_out = sets
    return Plan("mine", folder, (mine,), (held_out,), None, "CC0", recipe, start_from=BASE)


def _reports(folder: Path, sets: tuple[TextSet, TextSet]) -> list[Progress]:
    material = gather(_plan(folder / "mine", sets, CURVES), say)
    run = Run(folder / "mine" / "run", material.config, CURVES, weights=material.weights, even=material.even)
    scorer = GreedyScorer(material.tokenizer, material.held_out, HELD_OUT)
    run.train(material.pairs, material.dev_pairs, lambda line: say(f"step {line.step}"), 8, scorer=scorer)
    return run.lines()


if __name__ == "__main__":
    main()
