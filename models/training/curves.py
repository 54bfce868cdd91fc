"""training.html: how a run goes, report by report, in figures; written anew at each report, beside the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from markupsafe import Markup

from unembed.models.evaluation.figures import Axes, Scale
from unembed.models.evaluation.page import environment
from unembed.models.training.recipe import Progress, Recipe

CURVES_FILE: Final = "training.html"
TEMPLATE: Final = "curves.html"
RELOAD_AFTER: Final = 30  # seconds
SHOWN: Final = 24  # reports in the table
COLOURS: Final = (("curve", "accent"), ("best", "best"), ("third", "third"), ("fourth", "fourth"))  # line, of the page

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """A line of a figure, as its key tells it."""

    name: str
    colour: str
    last: str


@dataclass(frozen=True)
class Figure:
    title: str
    says: str
    svg: Markup
    key: list[Series]


def write_curves(path: Path, name: str, recipe: Recipe, lines: Sequence[Progress], finished: bool) -> None:
    """The page of a run with these reports, of which there is at least one; whoever reads it never sees half of it."""
    partial = path.with_suffix(".partial")
    partial.write_text(render(name, recipe, lines, finished), encoding="utf-8")
    partial.replace(path)


def render(name: str, recipe: Recipe, lines: Sequence[Progress], finished: bool) -> str:
    last = lines[-1]
    sets = list(last.dev_loss)
    scored = list(last.scores)
    return (
        environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            name=name,
            recipe=recipe,
            last=last,
            finished=finished,
            figures=figures(lines),
            sets=sets,
            scored=scored,
            rows=max((one.rows for one in last.scores.values()), default=0),
            shown=_spread(lines, last.best_step),
            reload_after=RELOAD_AFTER,
            now=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
            version=version("unembed"),
        )
    )


def figures(lines: Sequence[Progress]) -> list[Figure]:
    """Those for which the reports have values."""
    sets = list(lines[-1].dev_loss)
    heard = {name: [line.scores.get(name) for line in lines] for name in sets}
    losses = {"training": _points(lines, [line.loss for line in lines])}
    losses |= {name: _points(lines, [line.dev_loss.get(name) for line in lines]) for name in sets}
    bleu = {name: _points(lines, [one.bleu if one else None for one in heard[name]]) for name in sets}
    words = {name: _points(lines, [one.word_f1 if one else None for one in heard[name]]) for name in sets}
    rate = {"now": _points(lines, [line.learning_rate or None for line in lines])}
    speed = {"now": _points(lines, [line.pieces_per_second for line in lines])}
    drawn = [
        _figure(lines, "Loss", "nats per piece", "Cross-entropy.", losses, "{:.3f}"),
        _figure(lines, "BLEU", "BLEU", "Dev sets, decoded greedily.", bleu, "{:.1f}", 1),
        _figure(lines, "Word F1", "word F1", "Dev sets, decoded greedily.", words, "{:.3f}", 1),
        _figure(lines, "Learning rate", "learning rate", "Warm-up, then a cosine decay.", rate, "{:.2g}"),
        _figure(lines, "Speed", "pieces/s", "Training pieces per second.", speed, "{:,.0f}"),
    ]
    return [figure for figure in drawn if figure is not None]


def _figure(
    lines: Sequence[Progress],
    title: str,
    y_label: str,
    says: str,
    series: Mapping[str, Points],
    pattern: str,
    first_colour: int = 0,
) -> Figure | None:
    """None when there is nothing to draw. A set has the same colour in each figure."""
    last = lines[-1]
    values = [y for points in series.values() for _, y in points]
    if not values:
        return None
    steps = Scale.around([0, max(last.step, min(last.steps, 2 * last.step))])
    axes = Axes(f"{title}, by step", "step", y_label, steps, Scale.around(values))
    if last.best_step:
        axes.upright(last.best_step, f"step {last.best_step:,}: the best on the dev sets")
    key = []
    for number, (name, points) in enumerate(series.items(), first_colour):
        line, colour = COLOURS[number % len(COLOURS)]
        axes.line(points, line)
        if points:
            key.append(Series(name, colour, pattern.format(points[-1][1])))
    return Figure(title, says, axes.svg(), key)


def _points(lines: Sequence[Progress], values: Sequence[float | None]) -> Points:
    """(step, value) of the reports that have one; what is not finite cannot be drawn."""
    known = zip(lines, values, strict=True)
    return [(float(line.step), y) for line, y in known if y is not None and math.isfinite(y)]


def _spread(lines: Sequence[Progress], best_step: int) -> list[Progress]:
    """The newest first: at most `SHOWN`, at even steps, with the last and the best among them."""
    every = math.ceil(len(lines) / SHOWN)
    newest = list(reversed(lines))
    return [line for place, line in enumerate(newest) if place % every == 0 or line.step == best_step]
