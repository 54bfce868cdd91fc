"""The pictures of docs/training.md can be drawn, and those that are there load nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.training_pictures import OUT, sheet
from unembed.models.training.curves import figures
from unembed.models.training.recipe import DevScore, Progress

ROOT = Path(__file__).parents[2]


def test_the_figures_of_a_run_are_drawn_on_one_sheet() -> None:
    # Given the reports of a run with a dev set whose name has a sign of its own
    lines = [
        Progress(step, 100, 1.0, 3.0 - step / 50, {"a & b": 2.5}, 9000.0, 1.0, 1e-3, 50,
                 scores={"a & b": DevScore(10, step / 10, step / 200, 0.0)})
        for step in (10, 50, 100)
    ]  # fmt: skip
    # When they are drawn
    drawn = ElementTree.fromstring(sheet(figures(lines)))
    # Then each figure is within the sheet, with its lines and its key
    svg = "{http://www.w3.org/2000/svg}"
    assert len(drawn.findall(f".//{svg}svg")) == len(figures(lines))
    assert "a & b 10.0" in "".join(drawn.itertext())


@pytest.mark.parametrize("name", ["curves.svg", "tune.svg"])
def test_a_picture_is_small_and_loads_nothing(name: str) -> None:
    path = ROOT / OUT / name
    assert path.stat().st_size < 60_000
    text = path.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert set(re.findall(r"(?:href|src|url\()=?[\"']?(https?://[^\"')]*)", text)) == set()
