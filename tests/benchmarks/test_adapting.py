"""`make bench-adapt` in its short form: that the chart and the table say what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.adapting import BEGIN, CHART, DATA, END, PAGE, main, table, with_table
from benchmarks.adapting_chart import chart
from benchmarks.checkout import ROOT


def point(embedder: str, texts: int, bleu: float, more: int = 0) -> dict[str, Any]:
    """As in the JSON."""
    scores = {"bleu": {"value": bleu, "low": bleu - 1, "high": bleu + 1}}
    scores |= {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in ("word_f1", "exact")}
    made = {"embedder": embedder, "texts": texts, "more_texts": more, "base": "b", "cosine": 0.7, "seconds": 9.4}
    return {**made, "default": scores, "edits": scores}


POINTS = [
    point("<mine>", 50, 2.0),
    point("<mine>", 1000, 9.0),
    point("<mine>", 1000, 9.5, more=30_000),
    point("other", 1000, 8.5),
]


def test_the_chart_has_a_line_for_each_embedder_and_a_mark_for_each_number() -> None:
    root = ElementTree.fromstring(chart(POINTS))
    space = "{http://www.w3.org/2000/svg}"
    assert len(list(root.iter(f"{space}polyline"))) == 2
    titles = [one.text for one in root.iter(f"{space}title")]
    assert titles == [
        "<mine>, 50 texts: BLEU 2.0",
        "<mine>, 1,000 texts: BLEU 9.0",
        "other, 1,000 texts: BLEU 8.5",
    ]


def test_names_do_not_cover_each_other() -> None:
    root = ElementTree.fromstring(chart(POINTS))
    names = [one for one in root.iter("{http://www.w3.org/2000/svg}text") if one.text in ("<mine>", "other")]
    assert abs(float(names[0].get("y", "")) - float(names[1].get("y", ""))) >= 16


def test_what_was_measured_is_written_anew_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    # Given what was measured, and a page with marks
    (tmp_path / DATA).parent.mkdir()
    (tmp_path / DATA).write_text(json.dumps(POINTS))
    (tmp_path / PAGE).write_text(f"Before.\n{BEGIN}\nold\n{END}\nAfter.\n")
    # When only the page is asked for
    assert main(["--again", "--out", str(tmp_path)]) == 0
    # Then the table and the chart are there
    page = (tmp_path / PAGE).read_text()
    assert page.startswith("Before.\n")
    assert page.endswith("After.\n")
    assert "old" not in page
    assert "| <mine> | 1,000 |  | 9.0 (8.0 to 10.0), 0.500, 50.0% |" in page
    assert "| <mine> | 1,000 | 30,000 | 9.5 (8.5 to 10.5), 0.500, 50.0% |" in page
    assert (tmp_path / CHART).read_text() == chart(POINTS)


def test_the_page_in_the_docs_says_what_was_measured() -> None:
    docs = ROOT / "docs"
    points, page = json.loads((docs / DATA).read_text()), (docs / PAGE).read_text()
    assert with_table(page, points) == page
    assert table(points).count("\n") == len(points) + 2
    assert (docs / CHART).read_text() == chart(points)


def test_a_set_without_anything_to_be_scored_on_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.txt").write_text("a\n")
    assert main(["--set", f"mine={tmp_path / 'texts.txt'}", "--out", str(tmp_path)]) == 1
    assert "mine has no --dev mine=TEXTS" in capsys.readouterr().err


def test_what_is_refused_is_said_and_costs_nothing_but_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given texts of which fifty are too few different ones
    (tmp_path / "texts.txt").write_text("This is a text.\n" * 60)
    np.save(tmp_path / "texts.npy", np.ones((60, 8), np.float32))
    word = f"mine={tmp_path / 'texts.txt'},{tmp_path / 'texts.npy'}"
    (tmp_path / DATA).parent.mkdir()
    (tmp_path / DATA).write_text(json.dumps(POINTS))
    # When it is measured, Then that is said, and what was measured of others stays
    assert main(["--set", word, "--dev", word, "--counts", "50", "--out", str(tmp_path)]) == 0
    assert "mine: 50 texts are refused" in capsys.readouterr().err
    assert json.loads((tmp_path / DATA).read_text()) == POINTS
