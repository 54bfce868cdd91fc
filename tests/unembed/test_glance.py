"""What a person sees first of texts."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from rich.console import Console

from unembed.cli.glance import Glance
from unembed.generations import from_columns
from unembed.schemas import RowStatus


def rows(first: int, quality: Any, texts: Any = None) -> Any:
    count = len(quality)
    named = [f"text {first + place}" for place in range(count)] if texts is None else texts
    return from_columns(range(first, first + count), text=named, status=RowStatus.OK, overall_quality=quality)


def printed(glance: Glance) -> str:
    console = Console(file=io.StringIO(), width=100)
    for part in glance.shown():
        console.print(part)
    file: Any = console.file
    return str(file.getvalue())


def test_five_texts_go_from_the_best_to_the_worst() -> None:
    # Given 20,000 rows in pages, in an order of no meaning, with a quality of their own
    quality = np.random.default_rng(0).permutation(20_000) / 20_000 + 1 / 40_000
    glance = Glance()
    for first in range(0, 20_000, 3000):
        glance.add(rows(first, quality[first : first + 3000]))
    # Then the five are the best, the worst and those at even steps between, of a bounded number that was kept
    found = [kept.quality for kept in glance.texts()]
    assert (found[0], found[-1]) == (quality.max(), quality.min())
    assert np.abs(np.array(found) - [1, 0.75, 0.5, 0.25, 0]).max() < 0.08
    assert len(glance.kept) <= 1000
    assert glance.counts.tolist() == [2000] * 10


def test_the_histogram_has_a_line_for_each_tenth_and_a_bar_for_each_that_has_rows() -> None:
    glance = Glance()
    glance.add(rows(0, [0.05, 0.31, 0.32, 1.0]))
    lines = printed(glance).splitlines()
    assert next(line.split()[:4] for line in lines if " to " in line) == ["0.9", "to", "1.0", "1"]
    bars = {line[:10]: line.count("━") for line in lines if " to " in line}
    assert (bars["0.3 to 0.4"], bars["0.9 to 1.0"], bars["0.5 to 0.6"], bars["0.0 to 0.1"]) == (40, 20, 0, 20)


def test_a_text_cannot_steer_the_terminal_and_is_no_markup() -> None:
    glance = Glance()
    glance.add(rows(0, [0.5], ["\x1b[31m[bold]red[/bold]\x07 \u202e"]))
    said = printed(glance)
    assert "�[31m[bold]red[/bold]� �" in said
    assert "\x1b" not in said


def test_rows_without_a_text_or_a_quality_are_no_reason_to_fail() -> None:
    # Given errors alone, Then nothing is shown
    glance = Glance()
    glance.add(from_columns(range(3), status=RowStatus.ERROR))
    assert printed(glance) == ""
    # Given texts without a quality as well, Then some are shown, in their order, and no histogram
    glance.add(rows(3, [None] * 9))
    said = printed(glance)
    assert [line.split()[0] for line in said.splitlines()[1:]] == ["3", "5", "7", "9", "11"]
    assert "━" not in said


def test_what_is_shown_of_a_long_text_is_its_beginning() -> None:
    glance = Glance()
    glance.add(rows(0, [0.5], ["word " * 1000]))
    assert len(printed(glance)) < 500
