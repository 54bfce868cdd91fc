"""What a run is asked to do, and what it says while it does it. Free of torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

FLAGS: Final = {
    "epochs": "--epochs",
    "minutes": "--minutes",
    "batch_pieces": "--batch-pieces",
    "peak_learning_rate": "--learning-rate",
    "noise": "--noise",
    "embedding_dropout": "--embedding-dropout",
    "weight_decay": "--weight-decay",
    "augment": "--augment",
    "patience": "--patience",
    "seed": "--seed",
}  # of a recipe's fields, on the command line


class Check(StrEnum):
    """When texts and embeddings are looked at."""

    FIRST = "first"  # before the training, which is refused where it would be senseless
    ONLY = "only"
    NO = "no"  # nothing is refused and nothing left out


@dataclass(frozen=True)
class StartingDecoder:
    """The decoder that a run was started from."""

    name: str
    sha256: str  # of its weights, as they lay in its folder
    embedding_dim: int  # where the run's is another, the bridge began fresh
    known_pieces: int | None = None  # of the run's own pieces, those that it has too; None: all are its pieces


@dataclass(frozen=True)
class Recipe:
    """How a decoder is trained; saved with the run and written on the model card."""

    epochs: float = 20.0  # passes over the data
    minutes: float | None = None  # of training; the schedule ends with whichever of the two runs out first
    batch_pieces: int = 6144
    peak_learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_steps: int = 200
    noise: float = 0.1  # length of the noise added to a unit embedding, drawn uniformly from 0 to this
    embedding_dropout: float = 0.05  # share of rows that see no embedding: they train the plain language model
    average_decay: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0
    augment: float = 0.0  # texts made from each of the texts (`augment.py`); the last fifth of a run is without them
    patience: int = 0  # reports without a gain on the dev sets, after which the run anneals and ends; 0: never
    base: StartingDecoder | None = None  # None: random weights, and pieces learnt from the texts

    def flags(self) -> list[str]:
        """The options of `unembed train` for what is otherwise than their defaults, but for the base's."""
        default = Recipe()
        changed = [name for name in FLAGS if getattr(self, name) != getattr(default, name)]
        return [word for name in changed for word in (FLAGS[name], str(getattr(self, name)).removesuffix(".0"))]

    def steps(self, steps_per_epoch: int) -> int:
        return max(1, round(self.epochs * steps_per_epoch))

    def differences(self, saved: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What another recipe, as it was saved, has otherwise than this one: its values and ours.

        Fields that the version which saved it did not know have their defaults.
        """
        theirs, ours = asdict(Recipe()) | saved, asdict(self)
        if theirs["base"]:
            theirs["base"] = asdict(StartingDecoder(**theirs["base"]))
        names = [name for name in theirs if name not in ours or theirs[name] != ours[name]]
        return {name: theirs[name] for name in names}, {name: ours.get(name) for name in names}

    def progress(self, step: int, steps: int, seconds: float) -> float:
        """From 0 to 1, where the run ends."""
        return max(step / steps, seconds / (60.0 * self.minutes) if self.minutes else 0.0)


@dataclass(frozen=True)
class DevScore:
    """Greedy decoding of a dev set's first rows by the averaged weights."""

    rows: int
    bleu: float
    word_f1: float
    exact: float


@dataclass(frozen=True)
class Progress:
    """One line of progress.jsonl."""

    step: int
    steps: int
    epoch: float
    loss: float  # nats per piece, averaged since the last line
    dev_loss: dict[str, float]  # of the averaged weights, by dev set
    pieces_per_second: float
    seconds: float  # of training, all sittings together
    learning_rate: float = 0.0
    best_step: int = 0  # whose averaged weights were the best on the dev sets so far; 0: there are none
    annealing: bool = False  # patience has run out: `steps` is where the short end is over
    minutes: float | None = None  # that the run may take in all
    scores: dict[str, DevScore] = field(default_factory=dict)  # by dev set, where they are wanted

    @property
    def most_left(self) -> float:
        """Seconds: until the last step, or until the time is over, if that comes first."""
        left = self.seconds / max(self.step, 1) * (self.steps - self.step)
        return left if self.minutes is None else max(0.0, min(left, 60.0 * self.minutes - self.seconds))

    @classmethod
    def read(cls, line: str) -> Progress:
        """From a line of progress.jsonl, of this version or an earlier one."""
        fields = json.loads(line)
        scores = {name: DevScore(**one) for name, one in fields.pop("scores", {}).items()}
        return cls(**fields, scores=scores)
