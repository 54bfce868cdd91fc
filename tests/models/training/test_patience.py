"""`unembed train --patience`: the best weights are kept, and a run that no longer gains anneals and ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.decoder.toy import RECIPE, TEXTS, config, pairs, small_network, tokenizer, vectors
from unembed.errors import InputError
from unembed.models.decoder.config import NetworkConfig
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.data import Pairs, pair
from unembed.models.training.loop import Run
from unembed.models.training.patience import Anneal, Watch
from unembed.models.training.plan import Plan
from unembed.models.training.recipe import Progress
from unembed.models.training.run import train_decoder

QUICK = replace(RECIPE, peak_learning_rate=0.01)  # learns the toys by heart before it ends
PATIENT = replace(QUICK, patience=2)
STEPS = 120  # of both, on the toys


OTHERS = TEXTS[13:] + TEXTS[:13]  # no text where it was


def others() -> dict[str, Pairs]:
    """A dev set with each vector beside another text: the better the toys are learnt, the worse it is."""
    return {"others": pair(OTHERS, vectors(), tokenizer(), 32)[0]}


def trained(run: Run, until: int | None = None) -> list[Progress]:
    lines: list[Progress] = []
    run.train(pairs(), others(), lines.append, 5, stop=lambda: run.step == until)
    return lines


def test_the_lowest_loss_is_the_best_and_small_gains_do_not_count() -> None:
    # Given a loss that falls, then hardly, then rises
    watch = Watch()
    for step, loss in enumerate((2.0, 1.5, 1.4996, 1.4993, 1.7), 1):
        watch = watch.seen(step, loss)
    # Then the best is the lowest, and the last gain was before
    assert (watch.best_step, watch.best) == (4, 1.4993)
    assert (watch.mark, watch.waited) == (1.5, 3)
    # And gains that are small one by one do count together
    assert watch.seen(6, 1.499).waited == 0


def test_the_short_end_begins_where_the_schedule_is_and_goes_to_its_end() -> None:
    # Given a run of 1,000 steps whose patience is over at step 300
    anneal = Anneal.at(300, 0.3, 1000)
    # Then the rest of the schedule takes a fifth of the steps so far, without a jump
    assert anneal.end == 360
    assert anneal.progress_at(300) == pytest.approx(0.3)
    assert anneal.progress_at(330) == pytest.approx(0.65)
    assert anneal.progress_at(360) == 1.0
    # And never more than there are
    assert Anneal.at(950, 0.95, 1000).end == 1000


def test_a_run_that_no_longer_gains_anneals_and_ends_early(tmp_path: Path) -> None:
    # Given a dev set that gets worse while the training set is learnt by heart, When a run has a patience
    run = Run(tmp_path, config(), PATIENT)
    lines = trained(run)
    # Then it ends early, with a learning rate that fell all the way and is low at the end
    last = lines[-1]
    assert run.finished
    assert last.annealing
    assert last.step < STEPS
    assert last.step == last.steps
    assert last.learning_rate < 0.1 * QUICK.peak_learning_rate
    rates = [line.learning_rate for line in lines]
    assert rates == sorted(rates, reverse=True)
    # And it has nothing left to do
    again = Run(tmp_path, config(), PATIENT)
    assert again.resume()
    assert trained(again) == []
    assert again.finished


def test_the_weights_that_are_kept_are_those_of_the_best_report(tmp_path: Path) -> None:
    # Given a run whose best report is not its last
    run = Run(tmp_path / "a", config(), PATIENT)
    last = trained(run)[-1]
    assert 0 < last.best_step < last.step
    # When another is stopped there
    stopped = Run(tmp_path / "b", config(), QUICK)
    trained(stopped, until=last.best_step)
    # Then its average is what the first has kept
    for ours, theirs in zip(run.best().parameters(), stopped.averaged().parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not all(torch.equal(a, b) for a, b in zip(run.best().parameters(), run.averaged().parameters(), strict=True))


@pytest.mark.parametrize("until", [7, "annealing"])
def test_a_patient_run_that_was_stopped_ends_where_it_would_have_ended(tmp_path: Path, until: int | str) -> None:
    # Given a run that went through, and one that was stopped between two reports, before or in its short end
    through = Run(tmp_path / "a", config(), PATIENT)
    lines = trained(through)
    begins = next(line.step for line in lines if line.annealing)
    stopped = Run(tmp_path / "b", config(), PATIENT)
    trained(stopped, until=begins + 1 if until == "annealing" else int(until))
    assert not stopped.finished
    # When another process takes it up
    again = Run(tmp_path / "b", config(), PATIENT)
    assert again.resume()
    rest = trained(again)
    # Then it ends at the same step, and with the same best weights
    assert (rest[-1].step, rest[-1].best_step) == (lines[-1].step, lines[-1].best_step)
    for ours, theirs in zip(again.best().parameters(), through.best().parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_without_patience_a_run_goes_to_its_end_and_still_keeps_its_best(tmp_path: Path) -> None:
    run = Run(tmp_path, config(), QUICK)
    last = trained(run)[-1]
    assert (last.step, last.annealing) == (STEPS, False)
    assert 0 < last.best_step < STEPS


def test_what_is_exported_is_the_best_and_its_card_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given texts, and held-out ones that get worse while those are learnt
    monkeypatch.setattr(NetworkConfig, "of", small_network(NetworkConfig.of))
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(tmp_path / "t.npy", vectors())
    (tmp_path / "d.txt").write_text("\n".join(OTHERS) + "\n")
    plan = Plan(
        name="toy", folder=tmp_path / "toy", train=(TextSet("toys", tmp_path / "t.txt", tmp_path / "t.npy"),),
        dev=(TextSet("others", tmp_path / "d.txt", tmp_path / "t.npy"),), encoder=None, licence="CC0",
        recipe=PATIENT, max_pieces=40, report_every=5,
    )  # fmt: skip
    # When a run with patience is through
    lines: list[Progress] = []
    assert train_decoder(plan, lambda line: None, lines.append)
    # Then the card says which weights these are, and how to do it again
    card = (tmp_path / "toy" / "README.md").read_text()
    assert f"the average at step {lines[-1].best_step:,}, which had the lowest mean dev loss" in card
    assert "its patience ran out" in card
    assert "--patience 2" in card
    record = json.loads((tmp_path / "toy" / "scores.json").read_text())
    assert record["training"]["last"]["best_step"] == lines[-1].best_step


def test_a_patience_without_dev_sets_is_refused(tmp_path: Path) -> None:
    plan = Plan(
        name="toy", folder=tmp_path / "toy", train=(), dev=(), encoder=None, licence="CC0", recipe=PATIENT
    )  # fmt: skip
    with pytest.raises(InputError, match="patience is 2, but there is no dev set; expected at least one --dev"):
        train_decoder(plan, lambda line: None, lambda line: None)
