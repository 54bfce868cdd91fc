"""What the demo shows: references beside decodings, what the job cost, and how well the two agree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from unembed.schemas import Generation, Job, RowStatus, Timings

SHOWN: Final = 12  # rows of the table
_WORD: Final = re.compile(r"\w+(?:['’]\w+)*")
_SCORES: Final = {"all": "overall_quality", "flu": "fluency", "coh": "coherence", "div": "diversity"}
_STAGES: Final = {
    "loading": "load_ms",
    "decoding": "decode_ms",
    "scoring": "score_ms",
    "writing": "write_ms",
}

LEGEND: Final = (
    "all, flu, coh, div: the decoder's own estimates of overall quality, fluency, coherence and diversity, 0 to 1, "
    "made without the reference. F1: the words that reference and decoding share, 1 when they are the same."
)


@dataclass(frozen=True)
class Pair:
    """A reference and what the decoder made of its embedding."""

    reference: str
    row: Generation

    @property
    def word_f1(self) -> float:
        return word_f1(self.reference, self.row.text or "")

    @property
    def is_exact(self) -> bool:
        return self.row.text == self.reference


def pair(references: Sequence[str], rows: Iterable[Generation]) -> list[Pair]:
    """`references` are in the corpus's order; rows come in any."""
    return [Pair(references[row.index], row) for row in rows]


def word_f1(reference: str, text: str) -> float:
    """F1 of the two bags of words, without case and punctuation; 1 when both are empty."""
    expected, found = (Counter(_WORD.findall(words.casefold())) for words in (reference, text))
    if not expected or not found:
        return float(expected == found)
    return 2 * (expected & found).total() / (expected.total() + found.total())


def spread(pairs: Sequence[Pair], count: int = SHOWN) -> list[Pair]:
    """`count` pairs at even distances from the best to the worst overall quality; rows without a score come last."""
    ranked = sorted(pairs, key=lambda pair: (_worst_last(pair.row), pair.row.index))
    if len(ranked) <= count:
        return ranked
    return [ranked[round(place * (len(ranked) - 1) / (count - 1))] for place in range(count)]


def pairs_table(pairs: Iterable[Pair]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True)
    table.add_column("reference", ratio=1, overflow="fold")
    table.add_column("decoded from its embedding alone", ratio=1, overflow="fold")
    for heading in (*_SCORES, "F1"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=4)
    for shown in pairs:
        scores = [_score(getattr(shown.row, field)) for field in _SCORES.values()]
        table.add_row(plain(shown.reference), _decoding(shown.row), *scores, _score(shown.word_f1))
    return table


def summary(job: Job, starting: float | None) -> list[tuple[str, str]]:
    """What the job cost, as names and values; `starting` is the seconds that a stack of its own took to be ready."""
    rows, written = job.rows, job.rows.written
    seconds = ((job.finished_at or job.created_at) - job.created_at).total_seconds()
    lines = [
        ("rows", f"{written:,}: {rows.ok:,} ok, {rows.fallback:,} fallback, {rows.error:,} error"),
        ("time", f"{seconds:.1f} s from submitting to the last row, {written / max(seconds, 1e-3):,.0f} rows/s"),
        ("of which", _stages(job.timings, max(1, job.batches.done))),
    ]
    if starting is not None:
        lines.append(("before that", f"{starting:.1f} s to start Redis, a worker and the API, for this job alone"))
    return lines


def agreement(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """How well the texts agree with their references, over all rows; a row without a text counts as empty."""
    count = max(1, len(pairs))
    exact = sum(pair.is_exact for pair in pairs)
    return [
        ("word F1", f"{sum(pair.word_f1 for pair in pairs) / count:.3f} on average"),
        ("exact", f"{exact:,} of {len(pairs):,} to the letter ({exact / count:.1%})"),
    ]


def lines_table(lines: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, plain(value))
    return table


def plain(text: str) -> Text:
    """Text as it is: never markup, and no control characters, which could speak to the terminal."""
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text))


def _worst_last(row: Generation) -> float:
    return -row.overall_quality if row.overall_quality is not None else float("inf")


def _decoding(row: Generation) -> Text:
    if row.status is RowStatus.ERROR:
        return plain(f"({row.error_code}: {row.error})")
    text = plain(row.text or "")
    return text if row.status is RowStatus.OK else Text.assemble(text, (f" ({row.status}: {row.source})", "dim"))


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _stages(timings: Timings, batches: int) -> str:
    """Batches wait at the same time, so their waits are averaged, not summed as the work is."""
    work = ", ".join(f"{name} {getattr(timings, field) / 1000:.1f} s" for name, field in _STAGES.items())
    return f"{work}; a batch waited {timings.waited_ms / 1000 / batches:.1f} s on average"
