"""A first look at texts: five of them from best to worst, and how their quality is spread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from unembed.generations import floats
from unembed.words import printable

_SHOWN: Final = 5
_BINS: Final = 10
_BAR: Final = 40  # characters of the longest bar
_KEPT: Final = 1000  # texts at most, at even steps
_LONGEST: Final = 160  # characters of a text that are shown


class _Kept(NamedTuple):
    quality: float
    row: int  # its index
    text: str


@dataclass
class Glance:
    """What is kept of rows while they pass: some texts, and a histogram; the memory is the same for any number."""

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    kept: list[_Kept] = field(default_factory=list)  # every `step`-th row with a text
    best: _Kept | None = None
    worst: _Kept | None = None
    step: int = 1
    seen: int = 0  # rows with a text

    def add(self, batch: pa.RecordBatch) -> None:
        with_text = np.flatnonzero(np.asarray(batch.column("text").is_valid()))
        if not len(with_text):
            return
        quality = floats(batch.column("overall_quality"))[with_text]
        scored = quality[np.isfinite(quality)]
        self.counts += np.histogram(scored, _BINS, (0.0, 1.0))[0]
        self._keep(batch, with_text[(-self.seen) % self.step :: self.step])
        self.seen += len(with_text)
        if len(scored):
            best, worst = with_text[np.nanargmax(quality)], with_text[np.nanargmin(quality)]
            self.best = max(filter(None, (self.best, _row(batch, best))), key=lambda kept: kept.quality)
            self.worst = min(filter(None, (self.worst, _row(batch, worst))), key=lambda kept: kept.quality)
        while len(self.kept) > _KEPT:
            self.kept, self.step = self.kept[::2], 2 * self.step

    def _keep(self, batch: pa.RecordBatch, places: npt.NDArray[np.int64]) -> None:
        self.kept += [_row(batch, place) for place in places]

    def texts(self) -> list[_Kept]:
        """Five at even steps from the best to the worst; of rows without a quality, in the order of the corpus."""
        ranked = [kept for kept in self.kept if kept not in (self.best, self.worst)]
        if self.best is not None and self.worst is not None:
            ranked = [kept for kept in ranked if np.isfinite(kept.quality)]
            ranked.sort(key=lambda kept: (-kept.quality, kept.row))
            ranked = list(dict.fromkeys([self.best, *ranked, self.worst]))
        if len(ranked) <= _SHOWN:
            return ranked
        return [ranked[round(place * (len(ranked) - 1) / (_SHOWN - 1))] for place in range(_SHOWN)]

    def shown(self) -> Iterator[RenderableType]:
        """What to print: nothing where no row has a text, and no histogram where none has a quality."""
        if texts := self.texts():
            yield _texts_table(texts)
        if self.counts.any():
            yield _histogram(self.counts)


def _row(batch: pa.RecordBatch, place: Any) -> _Kept:
    quality, index, text = (batch.column(name)[int(place)].as_py() for name in ("overall_quality", "index", "text"))
    return _Kept(float("nan") if quality is None else quality, index, text[: _LONGEST + 1])


def _texts_table(texts: list[_Kept]) -> Table:
    scored = np.isfinite(texts[0].quality)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("QUALITY" if scored else "", justify="right", no_wrap=True)
    table.add_column("ROW", justify="right", no_wrap=True, style="dim")
    table.add_column("TEXT, FROM BEST TO WORST" if scored else "TEXT", overflow="fold")
    for kept in texts:
        text = kept.text if len(kept.text) <= _LONGEST else f"{kept.text[: _LONGEST - 1]}…"
        table.add_row(f"{kept.quality:.2f}" if scored else "", f"{kept.row:,}", Text(printable(text)))
    return table


def _histogram(counts: npt.NDArray[np.int64]) -> Table:
    """A line for each tenth of the overall quality that has rows between the least and the greatest."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("QUALITY", no_wrap=True)
    table.add_column("ROWS", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    there = np.flatnonzero(counts)
    for place in range(there[-1], there[0] - 1, -1):
        length = round(_BAR * counts[place] / counts.max())
        bar = "━" * max(length, int(counts[place] > 0))
        span = f"{place / _BINS:.1f} to {(place + 1) / _BINS:.1f}"
        table.add_row(span, f"{counts[place]:,}", Text(bar, style="cyan"))
    return table
