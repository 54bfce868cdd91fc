"""docs/quality.md, from what `quality.py` measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any, Final

from benchmarks.quality_chart import chart, frontier
from benchmarks.report import Grid

DATA: Final = "quality/quality.json"
Found = Mapping[str, Any]  # a way, a set, or all of it, as in the JSON

HEADS: Final = ("way", "options", "ms a row", "embedded a row", "BLEU", "word F1", "exact, %", "cosine")
COLUMNS: Final = (
    ("bleu", "{:.1f}", 1.0),
    ("word_f1", "{:.3f}", 1.0),
    ("exact", "{:.1f}", 100.0),
    ("cosine", "{:.3f}", 1.0),
)


def write(out: Path) -> None:
    """The page and its charts in the folder `out`, from the numbers in it."""
    found = json.loads((out / DATA).read_text(encoding="utf-8"))
    for one in found["sets"]:
        (out / chart_of(one)).write_text(chart(one), encoding="utf-8")
    (out / "quality.md").write_text(page(found), encoding="utf-8")


def chart_of(one: Found) -> str:
    """The path of a set's chart, from the page."""
    return f"quality/{one['name']}.svg"


def page(found: Found) -> str:
    first = found["sets"][0]
    charts = [f"![BLEU against CPU time, {one['name']}]({chart_of(one)})" for one in found["sets"]]
    tables = [f"## {one['name'].capitalize()}, {one['rows']:,} lines\n\n{_table(one)}" for one in found["sets"]]
    return (
        "\n\n".join(
            [
                "# Quality against time",
                charts[0],
                _filled(choice(first)),
                *charts[1:],
                _filled(HOW_TO_READ),
                *tables,
                Grid("Measured on", ("", ""), found["machine"]).markdown(),
                _filled(_method(found)),
            ]
        )
        + "\n"
    )


HOW_TO_READ: Final = """
Each point is a way of decoding the same lines. Further right is slower, further up is better. The dashed line joins the
ways that no other beats in both, so take one that is on it. The strokes through the points are 95 % intervals. A number
at the start of a name is that of the candidates. In the tables, "options" are those of `unembed decode`, "embedded" is
how many texts went through the encoder, and "exact" is the share of lines that came back word for word.
"""


def choice(one: Found) -> str:
    """What to choose, in a sentence; from the numbers of one set."""
    ways = {way["name"]: way for way in one["ways"]}
    if "default" not in ways:
        best = max(one["ways"], key=lambda way: way["bleu"]["value"])
        return f"Of what was measured, **{best['name']}** gives the best texts ({_gives(best)})."
    said = f"**Take the default** for most work ({_gives(ways['default'])})"
    if "greedy" in ways:
        said += f"; `--fast` where time matters more ({_gives(ways['greedy'])})"
    seeing = [way for way in one["ways"] if way["kind"] == "encoder" and way in frontier(one["ways"])]
    if seeing:
        least = min(seeing, key=lambda way: way["ms"]["value"])
        most = max(seeing, key=lambda way: way["bleu"]["value"])
        said += f"; and {least['flags']} where the encoder is installed ({_gives(least)})"
        if most is not least:
            said += f", or {most['flags']} for the best texts ({_gives(most)})"
    return f"{said}. These are the numbers of {one['name']} lines."


def _gives(way: Found) -> str:
    return f"BLEU {way['bleu']['value']:.1f} at {way['ms']['value']:.3g} ms a row"


def _table(one: Found) -> str:
    lines = [
        HEADS,
        ["---"] * len(HEADS),
        *(_row(way) for way in sorted(one["ways"], key=lambda way: way["ms"]["value"])),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(way: Found) -> list[str]:
    cost = way["ms"]
    row = [way["name"], way["flags"], f"{cost['value']:.3g} ({cost['low']:.3g} to {cost['high']:.3g})"]
    row.append(f"{way['embedded']:.1f}" if way["embedded"] else "0")
    for name, form, scale in COLUMNS:
        score = way.get(name)
        if score is None:
            row.append("–")
        else:
            value, low, high = (form.format(scale * score[part]) for part in ("value", "low", "high"))
            row.append(f"{value} ({low} to {high})")
    return row


def _method(found: Found) -> str:
    sketch = f"a sketch of {found['sketch_rows']:,} rows" if found["sketch_rows"] else "no sketch"
    bank = f" The phrase bank has {found['bank_phrases']:,} phrases." if found["bank_phrases"] else ""
    rows = ", ".join(f"{one['rows']:,} lines of {one['name']}" for one in found["sets"])
    return f"""
    The first lines of each set: {rows}. They were decoded in {found["parts"]} parts, each by all ways in turns, on
    one thread in {found["precision"]}. A time is the CPU time of decoding, scores included. Not in it are loading, the
    first few rows of each way, and the embedding for the cosines in the tables. In brackets: beside a time, the fastest
    and the slowest part; beside a score, its 95 % interval, from 1,000 resamplings of the rows. The decoder is
    {found["decoder"]}, with {found["parameters"]:,} parameters and {sketch}; the encoder is
    {found["encoder"] or "missing"}.{bank} The command was `{found["command"]}` (`make bench-quality ARGS=...`), and the
    numbers are in [quality.json]({DATA}).
    """


def _filled(text: str) -> str:
    return fill(" ".join(text.split()), 120, break_on_hyphens=False, break_long_words=False)
