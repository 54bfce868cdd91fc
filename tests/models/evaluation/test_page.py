"""The report of `unembed evaluate`: its figures are what they are called, and every text in it is only text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from unembed.models.evaluation.analysis import Analysis, Doubt, Trust, analyse, interval_of_mean, risk_coverage
from unembed.models.evaluation.figures import quality_figure, reliability_figure, risk_figure
from unembed.models.evaluation.intervals import wilson
from unembed.models.evaluation.measure import Measured
from unembed.models.evaluation.page import Subject, render, shared_words
from unembed.models.evaluation.reliability import reliability
from unembed.models.evaluation.scores import score
from unembed.schemas import Generation, RowStatus

TRAP = '<script src="http://evil.example/x.js"></script><img src=x onerror=alert(1)> & "quotes"'
SUBJECT = Subject("toy", "resource_efficient_v21", 624_640, 16, None, "cpu", "float32", {"candidates": 4}, seed=3)


def analysis(
    references: Sequence[str], texts: Sequence[str | None], qualities: Sequence[float | None], name: str = "toys"
) -> Analysis:
    generations = [
        Generation(
            index=index,
            text=text,
            status=RowStatus.ERROR if text is None else RowStatus.OK,
            error=None if text else "no phrase is near",
            overall_quality=quality,
        )
        for index, (text, quality) in enumerate(zip(texts, qualities, strict=True))
    ]
    cosines = np.linspace(0.1, 0.9, len(texts), dtype=np.float32)
    scores = score([text or "" for text in texts], references, 1.0, cosines)
    return analyse(name, references, Measured(scores, generations, cosines))


@pytest.fixture
def trusted() -> Trust:
    """100 rows, the surer the more often faithful."""
    references = [f"the sea is blue {number}" for number in range(100)]
    texts = [text if number % 10 < number // 10 else "no" for number, text in enumerate(references)]
    trust = analysis(references, texts, [number / 100 for number in range(100)]).trust
    assert trust is not None
    return trust


class Page(HTMLParser):
    """The tags of a page, where they point to, and the text of its cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.targets: list[str] = []
        self.handlers: list[str] = []
        self.cells: list[str] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")
        ]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "td":
            self._inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def test_the_interval_of_a_mean_is_as_wide_as_statistics_say() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = interval_of_mean(values)
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert interval_of_mean([2.0, 2.0, 2.0]) == interval_of_mean([2.0, 2.0, 2.0], seed=9)


def test_every_score_lies_within_its_interval() -> None:
    one = analysis(["I like the red sea."] * 15 + ["We sold it."] * 15, ["I like the sea."] * 30, [0.5] * 30)
    assert set(one.intervals) == {"bleu", "chrf", "word_f1", "exact", "cosine"}
    for interval in one.intervals.values():
        assert interval.low <= interval.value <= interval.high
    assert one.intervals["bleu"].value == one.scores.bleu
    assert one.intervals["bleu"].high - one.intervals["bleu"].low > 1


def test_risk_rises_with_coverage_from_the_surest_row_on() -> None:
    # Given four rows of which the two surest are faithful
    quality, faithful = np.array([0.2, 0.9, 0.4, 0.8]), np.array([False, True, False, True])
    coverage, risk = risk_coverage(quality, faithful)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk == pytest.approx([0.0, 0.0, 1 / 3, 0.5])
    # And when the surest is wrong, the risk begins at one
    assert risk_coverage(quality, ~faithful)[1] == pytest.approx([1.0, 1.0, 2 / 3, 0.5])


def test_bins_hold_what_was_expected_and_what_came_true() -> None:
    bins = reliability(np.array([0.12, 0.18, 0.95, 1.0]), np.array([False, True, True, True]))
    assert [(one.rows, one.predicted, one.faithful) for one in bins] == [
        (2, pytest.approx(0.15), 0.5),
        (2, pytest.approx(0.975), 1.0),
    ]


def test_the_interval_of_a_share_stays_within_0_and_1() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.404, 0.596), abs=0.001)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.278), abs=0.001)


def test_the_figures_are_whole_and_show_every_row(trusted: Trust) -> None:
    # Given the three figures, read as XML
    dots, curve, bars = (
        ElementTree.fromstring(figure(trusted)) for figure in (reliability_figure, risk_figure, quality_figure)
    )
    # Then there is a dot for each bin, a curve, its best and its base, and bars that add up to all rows
    assert len(dots.findall(".//circle")) == len(trusted.summary.curve) == 10
    assert [line.get("class") for line in curve.findall("polyline")] == ["ideal", "best", "curve"]
    counts = [int((bar.findtext("title") or "").split(": ")[1].split()[0]) for bar in bars.findall("rect")]
    assert sum(counts) == 100
    # And nothing is drawn outside of the picture
    for circle in dots.findall(".//circle"):
        assert 0 < float(circle.get("cx", 0)) < 340
        assert 0 < float(circle.get("cy", 0)) < 260


def test_no_text_is_taken_for_html_and_nothing_is_fetched() -> None:
    # Given texts, decodings and names that would be tags
    one = analysis([TRAP, "b", "c"], ["a", f"{TRAP} b", TRAP], [0.1, 0.5, 0.9], name=TRAP)
    # When they are on a page
    page = Page(render(SUBJECT, [one], f"unembed evaluate {TRAP}"))
    # Then they are read there as they were written, and no tag came of them
    assert any(cell.strip() == TRAP for cell in page.cells)
    assert page.tags.isdisjoint({"script", "img", "link", "iframe", "object"})
    assert page.handlers == []
    # And the page points nowhere but to itself
    assert page.targets == ["#set-1"]


def test_the_page_shows_the_scores_the_options_and_each_example_once() -> None:
    references = ["I like the sea.", "She sold the old house.", "Tom sees the red car.", "We like it."]
    html = render(
        SUBJECT, [analysis(references, ["I like the sea.", "She sold.", "no", "no"], [0.9, 0.6, 0.2, 0.1])], "x"
    )
    cells = [cell.strip() for cell in Page(html).cells]
    assert "candidates=4" in html
    assert "624,640 parameters" in html
    # The best beside a decoding that equals it, the worst, one from the middle
    assert [cells.count(text) for text in references] == [2, 0, 1, 1]
    assert any(cell.startswith("25.0 %") for cell in cells), "one in four is exact"


def test_a_decoder_without_calibration_or_text_says_so() -> None:
    one = analysis(["I see.", "We go.", "a", "b"], [None, "We go.", "a", "c"], [None] * 4)
    html = render(SUBJECT, [one], "x")
    assert one.trust is None
    assert "not calibrated" in html
    assert "1 of 4 rows have no text" in html
    assert "<svg" not in html
    assert "no text: no phrase is near" in html
    assert "does not know what vectors of texts look like" in html


def test_the_page_tells_which_vectors_are_taken_for_off_the_manifold() -> None:
    one = analysis(["I see.", "We go.", "a"], ["I see.", "We go.", "a"], [0.5] * 3)
    doubt = Doubt(rows=0.004, noise=1.0, centroids=0.915, whole=True)
    html = " ".join(render(SUBJECT, [replace(one, doubt=doubt)], "x").split())
    assert "0.4 % of the set's vectors" in html
    assert "100.0 % of Gaussian noise, 91.5 % of the means of 50 of the set's vectors" in html
    assert "the mean of all of them does." in html


def test_words_that_are_shared_are_set_off_as_often_as_they_are_shared() -> None:
    assert shared_words("The sea, the <sea>", "the sea!") == "<b>The</b> <b>sea</b>, the &lt;sea&gt;"
