"""What to expect of a training, as it is said before it begins."""

from __future__ import annotations

from datetime import datetime

import pytest

from unembed.cli.outlook import outlook_lines
from unembed.models.training.expectation import WORD_F1, Outlook, expected_word_f1

NOON = datetime(2026, 3, 1, 12, 0)
LONG = Outlook(texts=50_000, steps=6_000, pieces=36_000_000, pieces_per_second=10_000, most_seconds=None, base=None)


def test_word_f1_is_that_of_the_measurements_and_between_them_for_what_lies_between() -> None:
    assert [expected_word_f1(texts) for texts, _ in WORD_F1] == [pytest.approx(f1) for _, f1 in WORD_F1]
    (few, low), (many, high) = WORD_F1[1:3]
    assert low < expected_word_f1((few + many) // 2) < high
    assert expected_word_f1(1) == WORD_F1[0][1]
    assert expected_word_f1(10**9) == WORD_F1[-1][1]


def test_the_end_is_told_by_the_clock() -> None:
    assert list(outlook_lines(LONG, NOON))[-1] == (
        "about 60 min 00 s of training at 10,000 pieces/s, until about 13:00"
    )


def test_the_end_of_a_recipe_in_time_is_its_own() -> None:
    short = Outlook(50_000, 6_000, 36_000_000, 10_000, 600.0, None)
    assert "10 min 00 s" in list(outlook_lines(short, NOON))[-1]
    assert short.steps_in_time == 1_000


def test_few_steps_and_few_texts_are_warned_of() -> None:
    said = " ".join(outlook_lines(Outlook(500, 20, 180_000, 9_000, None, None), NOON))
    assert "500 texts, from nothing: expect a word F1 of about 0.1" in said
    assert "too few steps, 20: hardly more" in said
    assert "unembed adapt" in said


def test_from_another_decoder_more_is_expected() -> None:
    (expected, _) = outlook_lines(Outlook(50_000, 6_000, 36_000_000, 10_000, None, "ret-v21-minilm"), NOON)
    assert "from 'ret-v21-minilm': expect more than a word F1 of about" in expected


def test_of_a_run_that_is_over_nothing_is_foretold() -> None:
    assert list(outlook_lines(Outlook(50_000, 0, 0, 10_000, None, None), NOON)) == []
