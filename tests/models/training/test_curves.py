"""training.html: how a run goes, in figures that hold what progress.jsonl holds."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.models.decoder.toy import RECIPE, TEXTS, config, pairs, random_network, tokenizer, vectors
from tests.models.evaluation.test_page import Page
from unembed.models.decoder.ret import RET
from unembed.models.evaluation.figures import SHARES, Scale
from unembed.models.training.curves import figures, render, write_curves
from unembed.models.training.greedy import GreedyScorer, HeldOut
from unembed.models.training.loop import Run
from unembed.models.training.recipe import DevScore, Progress, StartingDecoder

TRAP = '<script src="http://evil.example/x.js"></script>&"'


def line(step: int, **changes: object) -> Progress:
    """A report of a run of 1,000 steps."""
    loss = 1.0 + 200.0 / step
    made = Progress(
        step=step, steps=1000, epoch=step / 50, loss=loss, dev_loss={"toys": loss + 0.1}, pieces_per_second=9000.0,
        seconds=step / 2, learning_rate=3e-3 * (1 - step / 1000), best_step=step,
        scores={"toys": DevScore(200, step / 50, step / 2000, 0.01)},
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


LINES = [line(step) for step in range(100, 600, 100)]


@pytest.mark.parametrize(
    ("values", "low", "high", "labels"),
    [
        ([1.03, 2.9], 1.0, 3.0, ["1.0", "1.5", "2.0", "2.5", "3.0"]),
        ([0.0, 0.003], 0.0, 0.003, ["0.000", "0.001", "0.002", "0.003"]),
        ([0.0, 20342.0], 0.0, 25000.0, ["0", "5,000", "10,000", "15,000", "20,000", "25,000"]),
        ([7.0], 6.0, 8.0, ["6", "8"]),
        ([], 0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_an_axis_goes_from_one_round_number_to_another(
    values: list[float], low: float, high: float, labels: list[str]
) -> None:
    scale = Scale.around(values)
    assert (scale.low, scale.high) == (pytest.approx(low), pytest.approx(high))
    assert [label for _, label in scale.ticks] == labels


def test_shares_are_labelled_in_per_cent() -> None:
    assert [label for _, label in SHARES.ticks] == ["0%", "25%", "50%", "75%", "100%"]


def test_every_series_is_drawn_with_a_point_a_report() -> None:
    # Given five reports, When they are drawn
    drawn = figures(LINES)
    # Then there is a figure for each kind of value, readable by itself, and with its last value in the key
    assert [one.title for one in drawn] == ["Loss", "BLEU", "Word F1", "Learning rate", "Speed"]
    places = {
        one.title: [mark.get("points", "").split() for mark in ElementTree.fromstring(one.svg).iter("polyline")]
        for one in drawn
    }
    assert [len(points) for points in places["Loss"]] == [5, 5]
    assert [len(points) for points in places["BLEU"]] == [5]
    assert [(series.name, series.last) for series in drawn[0].key] == [("training", "1.400"), ("toys", "1.500")]
    assert drawn[1].key[0].last == "10.0"
    # And a set has one colour throughout
    assert drawn[0].key[1].colour == drawn[1].key[0].colour == drawn[2].key[0].colour


def test_values_that_are_missing_or_not_finite_are_left_out() -> None:
    # Given reports of an earlier version, which knew neither scores nor the learning rate, and a loss that blew up
    old = asdict(line(100))
    for name in ("scores", "learning_rate", "best_step", "annealing"):
        del old[name]
    lines = [Progress.read(json.dumps(old)), line(200, scores={}, loss=math.nan)]
    # When they are drawn, Then what is there is drawn
    drawn = {one.title: one for one in figures(lines)}
    assert set(drawn) == {"Loss", "Learning rate", "Speed"}
    assert "nan" not in drawn["Loss"].svg


def test_the_page_fetches_nothing_and_escapes_every_name() -> None:
    # Given names that would do harm as HTML
    lines = [replace(one, dev_loss={TRAP: 1.0}, scores={TRAP: DevScore(200, 1.0, 0.1, 0.0)}) for one in LINES]
    # When they are on the page
    page = Page(render(TRAP, replace(RECIPE, base=StartingDecoder(TRAP, "0" * 64, 16)), lines, finished=True))
    # Then they are only text
    assert not page.tags & {"script", "img", "link", "iframe", "object"}
    assert page.targets == []
    assert page.handlers == []


def test_a_page_loads_itself_again_only_while_the_run_goes_on() -> None:
    assert 'http-equiv="refresh"' in render("toy", RECIPE, LINES, finished=False)
    assert 'http-equiv="refresh"' not in render("toy", RECIPE, LINES, finished=True)


def test_the_table_shows_the_newest_first_and_the_best_in_any_case(tmp_path: Path) -> None:
    # Given more reports than the table has rows, with the best in between
    lines = [line(step, best_step=440) for step in range(10, 1000, 10)]
    # When the page is written
    write_curves(tmp_path / "training.html", "toy", RECIPE, lines, finished=False)
    # Then the last is first, the best is there and marked, and nothing half-written is left
    steps = [cell for cell in Page((tmp_path / "training.html").read_text()).cells if "best" in cell or cell == "990"]
    assert steps == ["990", "440 best"]
    assert [path.name for path in tmp_path.iterdir()] == ["training.html"]


def test_a_run_reports_greedy_scores_of_the_first_rows(tmp_path: Path) -> None:
    # Given a run on the toys that decodes some of them at each report
    run = Run(tmp_path, config(), replace(RECIPE, epochs=200))
    scorer = GreedyScorer(tokenizer(), {"toys": HeldOut(TEXTS, vectors())}, rows=10)
    lines: list[Progress] = []
    # When it is through
    run.train(pairs(), {"toys": pairs()}, lines.append, 200, scorer=scorer)
    # Then each report has them, the last ones are good, and they are in progress.jsonl
    assert [one.scores["toys"].rows for one in lines] == [10] * len(lines)
    assert lines[-1].scores["toys"].word_f1 > 0.5
    assert lines[-1].scores["toys"].bleu > 0.0
    assert run.lines() == lines


def test_without_rows_nothing_is_decoded() -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded")

    network: RET = random_network()
    network.step = never  # type: ignore[assignment]
    assert GreedyScorer(tokenizer(), {"toys": HeldOut(TEXTS, vectors())}, rows=0)(network) == {}
