"""What the demo shows of the texts: references beside decodings, and how well the two agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from unembed.schemas import Generation, RowStatus
from unembed.word_f1 import word_f1
from unembed.words import printable

SHOWN: Final = 12  # rows of the table
LONGEST: Final = 120  # characters of a cell
_SCORES: Final = {"all": "overall_quality", "flu": "fluency", "coh": "coherence", "div": "diversity"}

LEGEND: Final = (
    "all, flu, coh, div: the decoder's own estimates of overall quality, fluency, coherence and diversity, 0 to 1, "
    "made without the reference. F1: how many words the reference and the decoded text share; 1 when all."
)


@dataclass(frozen=True)
class Pair:
    """A reference and what the decoder made of its embedding."""

    reference: str
    row: Generation

    @property
    def word_f1(self) -> float:
        return word_f1(self.row.text or "", self.reference)

    @property
    def is_exact(self) -> bool:
        return self.row.text == self.reference


def pair(references: Sequence[str], rows: Iterable[Generation]) -> list[Pair]:
    """`references` are in the corpus's order; rows come in any."""
    return [Pair(references[row.index], row) for row in rows]


def ranking_score(pairs: Iterable[Pair]) -> str:
    """The score that rows are ranked by: overall quality, or coherence where the decoder is not calibrated."""
    return "overall_quality" if any(pair.row.overall_quality is not None for pair in pairs) else "coherence"


def spread(pairs: Sequence[Pair], count: int = SHOWN) -> list[Pair]:
    """`count` pairs at even steps from the best to the worst by `ranking_score`; rows without it come last."""
    field = ranking_score(pairs)

    def rank(pair: Pair) -> tuple[float, int]:
        score = getattr(pair.row, field)
        return (float("inf") if score is None else -score), pair.row.index

    ranked = sorted(pairs, key=rank)
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
        table.add_row(_plain(shown.reference), _decoding(shown.row), *scores, _score(shown.word_f1))
    return table


def agreement(pairs: Sequence[Pair]) -> Table:
    """How well the texts agree with their references, over all rows; a row without a text counts as empty."""
    count = max(1, len(pairs))
    exact = sum(pair.is_exact for pair in pairs)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("word F1", f"{sum(pair.word_f1 for pair in pairs) / count:.3f}", f"mean of {len(pairs):,} rows")
    table.add_row("exact", f"{exact:,}", f"{exact / count:.1%} of the rows, to the letter")
    return table


def _decoding(row: Generation) -> Text:
    if row.status is RowStatus.ERROR:
        return _plain(f"({row.error_code}: {row.error})")
    text = _plain(row.text or "")
    if row.off_manifold:
        text = Text.assemble(text, (" (off manifold: not an embedding of a text)", "yellow"))
    return text if row.status is RowStatus.OK else Text.assemble(text, (f" ({row.status}: {row.source})", "dim"))


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _plain(text: str) -> Text:
    """Text as it is: never markup, nothing that could steer a terminal, and no more than a few lines of it."""
    shown = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return Text(printable(shown))
