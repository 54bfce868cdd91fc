"""The hybrid's rule: learnt where it pays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models.decoder.toy import TEXTS, random_checkpoint, vectors
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.phrase_bank import Bank, PhraseBankDecoder
from unembed.models.evaluation.rule import best_step, learn_rule
from unembed.schemas import DecodeOptions


def test_the_step_lies_where_the_other_answer_begins_to_be_better() -> None:
    # Given four rows whose phrases lead by so much, the two that lead most being better
    step, mean = best_step(
        np.array([0.2, -0.3, 0.6, 0.0]), np.array([0.1, 0.9, 0.2, 0.8]), np.array([0.7, 0.0, 0.9, 0.1])
    )
    assert step == pytest.approx(0.1)
    assert mean == pytest.approx((0.7 + 0.9 + 0.9 + 0.8) / 4)


@pytest.mark.parametrize(("better", "step"), [(0.0, 0.75), (1.0, -0.75)])
def test_where_one_is_always_better_the_step_is_beyond_all_rows(better: float, step: float) -> None:
    lead = np.array([-0.5, 0.0, 0.5])
    assert best_step(lead, np.full(3, 0.5), np.full(3, better))[0] == pytest.approx(step)


def test_every_step_that_is_chosen_is_as_good_as_the_best_of_all_steps() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        lead = generator.integers(-5, 6, 12) / 10.0  # with ties
        below, above = generator.random(12), generator.random(12)
        step, mean = best_step(lead, below, above)
        assert np.where(lead > step, above, below).mean() == pytest.approx(mean)
        assert mean == pytest.approx(max(np.where(lead > t, above, below).mean() for t in np.linspace(-1, 1, 201)))


def test_what_is_to_be_kept_is_not_given_up_for_a_higher_mean() -> None:
    # Given rows whose lead is the difference of two cosines, as a hybrid's, and one side better whatever the lead
    generator = np.random.default_rng(1)
    own, known = generator.random(40), generator.random(40)
    below, above = np.full(40, 0.6), np.full(40, 0.4) + 0.1 * (known > own)
    # When the step is learnt, Then it is beyond all rows, unless the cosine is to be kept
    assert best_step(known - own, below, above)[1] == pytest.approx(0.6)
    step, mean = best_step(known - own, below, above, (own, known))
    answers = np.where(known - own > step, known, own)
    assert answers.mean() >= max(own.mean(), known.mean())
    # And of all the steps that keep it, this one is the best
    steps = [t for t in np.linspace(-1, 1, 2001) if np.where(known - own > t, known, own).mean() >= known.mean()]
    assert mean == pytest.approx(max(np.where(known - own > t, above, below).mean() for t in steps))
    assert mean < 0.6


def test_a_bank_that_knows_the_texts_is_believed(tmp_path: Path) -> None:
    # Given a network with random weights, and a bank that holds the very texts
    network = GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")
    bank = PhraseBankDecoder(Bank.of(TEXTS, vectors(), name="phrases"), device="cpu")
    # When the rule is learnt on them, Then the bank answers everywhere, and the hybrid is as good as it
    rule = learn_rule(network, bank, TEXTS, vectors(), DecodeOptions())
    assert rule.known_from < 0.99
    assert (rule.bank_f1, rule.hybrid_f1, rule.rows) == (1.0, 1.0, 36)
    assert rule.network_f1 < 0.5
