"""`unembed tune`: a search by short runs, which can be stopped and taken up again."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from tests.models.decoder.toy import RECIPE, TEXTS, small_network, vectors
from unembed.errors import InputError
from unembed.models.decoder.config import NetworkConfig
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.plan import Plan
from unembed.models.training.recipe import Recipe
from unembed.models.training.tune import JOURNAL_FILE, SearchLimits, tune

SEARCH = SearchLimits(trials=3, epochs=5)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A search on the toys."""
    monkeypatch.setattr(NetworkConfig, "of", small_network(NetworkConfig.of))
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(tmp_path / "t.npy", vectors())
    toys = TextSet("toys", tmp_path / "t.txt", tmp_path / "t.npy")
    return Plan(
        name="search", folder=tmp_path / "search", train=(toys,), dev=(toys,), encoder=None, licence="",
        recipe=replace(RECIPE, batch_pieces=2048), max_pieces=40,
    )  # fmt: skip


def quiet(message: str) -> None:
    pass


def test_a_search_begins_with_the_defaults_and_gives_the_best_first(plan: Plan) -> None:
    # Given texts, When a few recipes are tried
    tried = tune(plan, SEARCH, quiet)
    # Then there are as many runs, the first of which has what the plan has, and the best comes first
    assert sorted(one.number for one in tried) == [0, 1, 2]
    assert next(one.recipe for one in tried if one.number == 0) == plan.recipe
    losses = [one.loss for one in tried]
    assert losses == sorted(losses)
    assert not any(one.ended_early for one in tried), "the first runs come to their end"
    # And the others are recipes for a whole training, with other numbers
    assert {one.recipe.epochs for one in tried} == {RECIPE.epochs}
    assert len({one.recipe.peak_learning_rate for one in tried}) == 3
    # And nothing of the runs is left but the journal, in lines of JSON
    assert sorted(path.name for path in plan.folder.iterdir()) == ["run", JOURNAL_FILE]
    assert all(json.loads(line) for line in (plan.folder / JOURNAL_FILE).read_text().splitlines())


def test_a_search_that_was_stopped_goes_on_with_the_run_that_it_was_at(plan: Plan) -> None:
    # Given a search that is stopped in the middle of its second run
    said: list[str] = []
    asked = count()

    def stop() -> bool:
        return any(message.startswith("run 0") for message in said) and next(asked) > 2

    tried = tune(replace(plan, stop=stop), SEARCH, said.append)
    assert [one.number for one in tried] == [0]
    assert said[-1] == "run 1 was stopped; the search will repeat it"
    # When it is taken up
    again = tune(plan, SEARCH, quiet)
    # Then it ends with the runs that it would have had
    through = tune(replace(plan, folder=plan.folder.parent / "through"), SEARCH, quiet)
    assert [one.recipe for one in again] == [one.recipe for one in through]
    assert [one.loss for one in again] == [one.loss for one in through]
    # And a further call has nothing to do, while one for more runs has
    assert tune(plan, SEARCH, quiet) == again
    assert len(tune(plan, replace(SEARCH, trials=4), quiet)) == 4


def test_runs_that_fall_behind_are_ended_early_and_come_last(plan: Plan) -> None:
    # Given a search of more runs than are let through in any case
    tried = tune(plan, SearchLimits(trials=12, epochs=8), quiet)
    # Then some were ended early, and those are not taken for the best, whatever their loss
    assert any(one.ended_early for one in tried)
    flags = [one.ended_early for one in tried]
    assert flags == sorted(flags)


def test_the_passes_are_searched_for_where_that_is_asked(plan: Plan) -> None:
    tried = tune(plan, SearchLimits(trials=5, epochs=1, most_passes=3), quiet)
    assert tried[[one.number for one in tried].index(0)].passes == 1
    assert {one.passes for one in tried} <= {1, 2, 3}
    assert len({one.passes for one in tried}) > 1


def test_a_search_is_not_taken_up_with_other_bounds(plan: Plan) -> None:
    tune(plan, replace(SEARCH, trials=1), quiet)
    with pytest.raises(InputError, match=r"was started with \{'epochs': 5\}, not \{'epochs': 7\}; use the same"):
        tune(plan, replace(SEARCH, epochs=7), quiet)


def test_a_search_without_dev_sets_is_refused(plan: Plan) -> None:
    with pytest.raises(InputError, match="a search needs a dev set; expected at least one --dev"):
        tune(replace(plan, dev=()), SEARCH, quiet)


def test_a_recipe_is_what_its_flags_say() -> None:
    assert Recipe().flags() == []
    recipe = Recipe(epochs=3.0, batch_pieces=1_048_576, peak_learning_rate=0.0045, seed=12)
    assert " ".join(recipe.flags()) == "--epochs 3 --batch-pieces 1048576 --learning-rate 0.0045 --seed 12"
