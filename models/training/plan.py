"""What a run of `unembed train` is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unembed.models.decoder.config import RET_V21
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.recipe import Check, Recipe


@dataclass(frozen=True)
class Plan:
    """What to train, on what, where to."""

    name: str
    folder: Path  # of the checkpoint; its subfolder `run` keeps what is needed to go on
    train: tuple[TextSet, ...]
    dev: tuple[TextSet, ...]
    encoder: str | None
    licence: str
    recipe: Recipe
    architecture: str = RET_V21
    max_pieces: int = 96
    passes: int | None = None  # how often the layers are applied; None: as often as the base's, else once
    gated_units: int | None = None  # of the MLP; None: the base's, else as many as fit
    device: str = "cpu"
    start_from: str | None = None  # a decoder's name, or a checkpoint's folder; the recipe then names it as its base
    report_every: int = 200
    score_rows: int = 200  # of each dev set, decoded at each report; 0: none
    check: Check = Check.FIRST
    dev_rows: int | None = None  # score on the first so many rows of each dev set; None: all
    stop: Callable[[], bool] = field(default=lambda: False)
