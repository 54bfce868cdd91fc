"""`unembed tune`: which recipe suits these texts, by short runs that are judged by the mean loss on the dev sets.

Optuna proposes (TPE), and ends runs that are worse at a report than half of those before were there (median pruning).
Its journal, lines of JSON in the folder, is all that a search keeps: one that was stopped goes on from there. (Optuna's
journal can keep pickled snapshots too, in Redis; in a file it has none.) Runs are of equal length in passes over the
texts, so that they come out the same on a busy machine; the first has the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from unembed.errors import InputError
from unembed.models.evaluation.text_sets import Say
from unembed.models.training.loop import REMEDY, Run, count_batches
from unembed.models.training.material import Material, gather
from unembed.models.training.plan import Plan
from unembed.models.training.recipe import Progress, Recipe

JOURNAL_FILE: Final = "study.jsonl"
REPORTS: Final = 10  # of a run, at equal distances
FIRST: Final = 5  # runs that are drawn at random and come to their end: what the others are compared with
UNJUDGED: Final = 2  # reports of a run before it may be ended


@dataclass(frozen=True)
class SearchLimits:
    """How long to look, and how far."""

    trials: int = 20
    epochs: float = 2.0  # of a run
    most_passes: int | None = None  # the layers are applied once to so often; None: it is not searched for


@dataclass(frozen=True)
class Tried:
    """One run of a search."""

    number: int
    recipe: Recipe  # for a whole training: as long as the plan's
    passes: int
    loss: float  # nats a piece, mean over the dev sets; of a run that was ended early, where it was ended
    ended_early: bool


def tune(plan: Plan, search: SearchLimits, say: Say) -> list[Tried]:
    """All runs, those of earlier sittings too: the best first, those that were ended early last.

    Searches until there are `search.trials`, or until `plan.stop`. `plan.recipe` has what is not searched for, and
    what the first run tries. Raises InputError when there is no dev set, or when the folder's search was begun
    otherwise.
    """
    if not plan.dev:
        raise InputError("a search needs a dev set; expected at least one --dev")
    tuning = _Tuning(plan, search, gather(plan, say))
    while len(tuning.ended()) < search.trials and not plan.stop():
        say(tuning.next_run())
    tried = [tuning.tried(trial) for trial in tuning.ended()]
    return sorted(tried, key=lambda one: (one.ended_early, one.loss))


class _Tuning:
    """A search under way."""

    def __init__(self, plan: Plan, search: SearchLimits, material: Material) -> None:
        self._plan, self._search, self._material = plan, search, material
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(plan.folder / JOURNAL_FILE))),
            study_name=plan.name,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST, n_warmup_steps=UNJUDGED),
            load_if_exists=True,
        )
        self._take_up()

    def _take_up(self) -> None:
        """Raises InputError when the search was begun with other texts, another network or other bounds."""
        ours = self._fingerprint()
        begun = self._study.user_attrs.get("search")
        if begun is None:
            self._study.set_user_attr("search", ours)
            self._study.enqueue_trial(self._defaults())
        elif begun != ours:
            theirs = {name: value for name, value in begun.items() if value != ours.get(name)}
            raise InputError(
                f"the search in {self._plan.folder} was started with {theirs}, not "
                f"{ {name: ours.get(name) for name in theirs} }; {REMEDY}"
            )
        for left in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):  # by a process that died
            self._give_up(left.number, left.params)

    def _fingerprint(self) -> dict[str, Any]:
        """What a search must have in common with the one that it goes on with; as JSON gives it back."""
        material = self._material
        return {
            "texts": len(material.pairs),
            "pieces": material.pairs.total_pieces,
            "dev": {name: len(pairs) for name, pairs in material.dev_pairs.items()},
            "network": material.config.model_dump(mode="json"),
            "base": asdict(material.base) if material.base else None,
            "epochs": self._search.epochs,
            "most_passes": self._search.most_passes,
            "seed": self._plan.recipe.seed,
        }

    def _defaults(self) -> dict[str, Any]:
        recipe = self._plan.recipe
        passes = {} if self._search.most_passes is None else {"passes": 1}
        return passes | {
            "learning_rate": recipe.peak_learning_rate,
            "noise": recipe.noise,
            "embedding_dropout": recipe.embedding_dropout,
            "batch_pieces": recipe.batch_pieces,
        }

    def ended(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def next_run(self) -> str:
        """Trains once and tells the study how good it was; what is said of it."""
        # By how far the search is: one that goes on draws nothing twice.
        seed = self._plan.recipe.seed + len(self.ended())
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST)
        trial = self._study.ask()
        self._draw(trial)
        recipe, passes = self._read(trial.params)
        try:
            loss = self._train(recipe, passes, lambda place, loss: self._judge(trial, place, loss))
        except optuna.TrialPruned:
            loss = None
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            if loss is None:
                self._give_up(trial.number, trial.params)
                return f"run {trial.number} was stopped; the search will repeat it"
            self._study.tell(trial, loss)
        flags = " ".join(recipe.flags()) or "the defaults"
        layers = f" --passes {passes}" if self._search.most_passes else ""
        how_good = "ended early" if loss is None else f"{loss:.4f}"
        return f"run {trial.number}, {len(self.ended())} of {self._search.trials}: {how_good}, {flags}{layers}"

    def _give_up(self, number: int, params: dict[str, Any]) -> None:
        """Of a run that did not come to its end; the next one repeats it."""
        self._study.tell(number, state=TrialState.FAIL)
        if params:
            self._study.enqueue_trial(params)

    def _draw(self, trial: optuna.Trial) -> None:
        trial.suggest_float("learning_rate", 3e-4, 2e-2, log=True)
        trial.suggest_float("noise", 0.0, 0.5)
        trial.suggest_float("embedding_dropout", 0.0, 0.3)
        trial.suggest_int("batch_pieces", 1024, 16_384, log=True)
        if self._search.most_passes is not None:
            trial.suggest_int("passes", 1, self._search.most_passes)

    def _read(self, params: dict[str, Any]) -> tuple[Recipe, int]:
        """A recipe and the passes; rounded to what one would type, so that a run is what its command line says."""
        drawn = replace(
            self._plan.recipe,
            peak_learning_rate=float(f"{params['learning_rate']:.2g}"),
            noise=round(params["noise"], 2),
            embedding_dropout=round(params["embedding_dropout"], 2),
            batch_pieces=int(params["batch_pieces"]),
        )
        return drawn, int(params.get("passes", self._material.config.passes))

    def tried(self, trial: FrozenTrial) -> Tried:
        recipe, passes = self._read(trial.params)
        loss = math.nan if trial.value is None else trial.value
        return Tried(trial.number, recipe, passes, loss, trial.state is not TrialState.COMPLETE)

    def _train(self, recipe: Recipe, passes: int, judge: Callable[[int, float], None]) -> float | None:
        """The lowest mean loss on the dev sets; None when it was stopped before its end."""
        material = self._material
        short = replace(recipe, epochs=self._search.epochs, minutes=None, patience=0, base=material.base)
        config = material.config.model_copy(update={"passes": passes})
        every = max(1, short.steps(count_batches(material.pairs, short.batch_pieces)) // REPORTS)

        def report(line: Progress) -> None:
            if line.step % every == 0:
                judge(line.step // every, float(np.mean(list(line.dev_loss.values()))))

        with TemporaryDirectory(prefix="run-", dir=self._plan.folder) as folder:
            run = Run(Path(folder), config, short, self._plan.device, material.weights, material.even)
            run.train(material.pairs, material.dev_pairs, report, every, self._plan.stop)
        return run.watch.best if run.finished else None

    def _judge(self, trial: optuna.Trial, place: int, loss: float) -> None:
        """Raises TrialPruned when the run is not worth going on with."""
        if not math.isfinite(loss):
            raise optuna.TrialPruned
        trial.report(loss, place)
        if trial.should_prune():
            raise optuna.TrialPruned
