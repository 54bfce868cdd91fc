"""How many texts to adapt to: `make bench-adapt` adapts decoders to the first texts of sets, more and more of them.

python -m benchmarks.adapting --set EMBEDDER=TEXTS,VECTORS.npy --dev EMBEDDER=TEXTS,VECTORS.npy [...] [--counts 50,1000]
python -m benchmarks.adapting --again           the table and the chart once more, from what was measured before

Writes benchmarks/adapt.json and benchmarks/adapt.svg under --out, and the table in its adapting.md. What was measured
of other embedders stays. Seconds are of CPU time, on one thread, without those that it took to embed the texts for the
embedder in question.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.adapting_chart import chart
from benchmarks.asked import say
from unembed.errors import InputError, UnembedError
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.analysis import analyse
from unembed.models.evaluation.measure import measure
from unembed.models.evaluation.text_sets import Library, TextSet
from unembed.models.training.adapt.at_hand import PairsAtHand
from unembed.models.training.adapt.run import Adaptation, adapt_to
from unembed.schemas import DecodeOptions

COUNTS: Final = (50, 200, 1000, 5000, 20_000, 100_000)
ROWS: Final = 500  # of each --dev set
DATA, CHART, PAGE = Path("benchmarks/adapt.json"), Path("benchmarks/adapt.svg"), Path("adapting.md")
BEGIN, END = "<!-- adapting: made by make bench-adapt -->", "<!-- adapting: end -->"
WAYS: Final = {"default": DecodeOptions(), "edits": DecodeOptions(edits=2)}
DIGITS: Final = 3

Point = Mapping[str, Any]  # as in the JSON


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    path: Path = given.out / DATA
    points: list[Point] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    if not given.again:
        try:
            sets = _by_name(given.sets)
            new = [point for name, one in sets.items() for point in _of_set(name, one, _by_name(given.dev), given)]
        except UnembedError as error:
            print(f"nothing was measured: {error}", file=sys.stderr)
            return 1
        again = {(name, bool(given.texts)) for name in sets}
        points = [one for one in points if (one["embedder"], one["more_texts"] > 0) not in again] + new
        points.sort(key=lambda one: (one["embedder"], one["more_texts"] > 0, one["texts"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(points, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (given.out / CHART).write_text(chart(points), encoding="utf-8")
    page = given.out / PAGE
    if page.exists():
        page.write_text(with_table(page.read_text(encoding="utf-8"), points), encoding="utf-8")
    say(f"wrote {path} and {given.out / CHART}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapting", description="Quality by number of texts.")
    parser.add_argument("--set", dest="sets", action="append", default=[], help="EMBEDDER=TEXTS,VECTORS.npy")
    parser.add_argument("--dev", action="append", default=[], help="the same embedder's, to be scored on")
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)), help="how many texts, with commas between")
    parser.add_argument("--rows", type=int, default=ROWS, help="lines of each --dev set")
    parser.add_argument("--base", help="as in unembed adapt")
    parser.add_argument("--without", action="append", default=[], help="a decoder that ships and is not to be used")
    parser.add_argument("--texts", action="append", default=[], help="as in unembed adapt: more, without embeddings")
    parser.add_argument("--minutes", type=float, default=Adaptation.minutes, help="as in unembed adapt")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="the folder of the docs")
    parser.add_argument("--again", action="store_true", help="only write, from what was measured before")
    return parser


def _by_name(words: Sequence[str]) -> dict[str, TextSet]:
    return {one.name: one for one in map(TextSet.parse, words)}


def _of_set(name: str, one: TextSet, dev: Mapping[str, TextSet], given: argparse.Namespace) -> Iterator[Point]:
    if name not in dev:
        raise InputError(f"{name} has no --dev {name}=TEXTS,VECTORS.npy to be scored on")
    torch.set_num_threads(1)
    library = Library(None, None, say)
    texts, vectors = library.read(one)
    held_out = library.read(dev[name], given.rows)
    for count in map(int, given.counts.split(",")):
        if count > len(texts):
            break
        say(f"{name}: {count:,} texts")
        with tempfile.TemporaryDirectory() as folder:
            plan = Adaptation(
                Path(folder) / "made",
                (one,),
                base=given.base,
                texts=tuple(map(TextSet.parse, given.texts)),
                minutes=given.minutes,
                without=tuple(given.without),
            )
            begun = time.process_time()
            try:
                made = adapt_to(
                    plan, PairsAtHand.of(texts[:count], vectors[:count], plan.held_out, plan.seed, say), say
                )
            except InputError as refusal:  # of few texts, as it may be
                say(f"{name}: {count:,} texts are refused: {refusal}")
                continue
            seconds = time.process_time() - begun
            decoder = GenerativeDecoder.load(plan.folder, "cpu")
            yield {
                "embedder": name,
                "texts": count,
                "more_texts": made.more_texts,
                "base": made.base.name,
                "cosine": round(made.cosine, DIGITS),
                "seconds": round(seconds, 1),
                **scored(decoder, *held_out),
            }


def scored(decoder: GenerativeDecoder, texts: list[str], vectors: Vectors) -> dict[str, Any]:
    """BLEU and word F1 with their intervals, by way of decoding."""
    found: dict[str, Any] = {}
    for way, options in WAYS.items():
        intervals = analyse(way, texts, measure(decoder, texts, vectors, None, options), None).intervals
        found[way] = {
            score: {name: round(value, DIGITS) for name, value in asdict(intervals[score]).items()}
            for score in ("bleu", "word_f1", "exact")
        }
    return found


def with_table(page: str, points: Sequence[Point]) -> str:
    """The page with the table between its marks. Raises ValueError where it has none."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{table(points)}\n{END}{after}"


def table(points: Sequence[Point]) -> str:
    rows = [
        "| embedder | texts | without embeddings | by default: BLEU, word F1, exact | `--edits 2` | CPU |",
        "|---|---|---|---|---|---|",
    ]
    for point in points:
        scores = " | ".join(_scores(point[way]) for way in WAYS)
        more = f"{point['more_texts']:,}" if point["more_texts"] else ""
        rows.append(f"| {point['embedder']} | {point['texts']:,} | {more} | {scores} | {point['seconds']:.0f} s |")
    return "\n".join(rows) + "\n"


def _scores(of: Mapping[str, Any]) -> str:
    bleu, f1, exact = of["bleu"], of["word_f1"], of["exact"]
    return f"{bleu['value']:.1f} ({bleu['low']:.1f} to {bleu['high']:.1f}), {f1['value']:.3f}, {exact['value']:.1%}"


if __name__ == "__main__":
    sys.exit(main())
