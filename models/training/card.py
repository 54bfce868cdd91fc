"""The model card: what a checkpoint was trained on, how, and how good it is. Every number on it was measured."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from unembed.models.decoder.card import CARD_FILE
from unembed.models.decoder.card import SCORES_FILE as SCORES_FILE
from unembed.models.decoder.config import Calibration, CheckpointConfig
from unembed.models.decoder.manifold import MANY, Manifold
from unembed.models.decoder.sketch import Sketch
from unembed.models.evaluation.reliability import Reliability
from unembed.models.training.calibrate import Calibrated, Checks
from unembed.models.training.checked_sets import SetRecord
from unembed.models.training.command import shown_command
from unembed.models.training.dev_scores import DevScores, recorded_scores, scores_section
from unembed.models.training.recipe import Progress, Recipe


@dataclass(frozen=True)
class Trained:
    """What the card tells of the training."""

    sources: tuple[str, ...]  # names of the corpora
    licence: str
    texts: int
    pieces: int
    recipe: Recipe
    last: Progress
    threads: int
    command: tuple[str, ...]  # that repeats it
    sets: tuple[SetRecord, ...]  # all that were read, the dev sets too


def write_card(
    folder: Path,
    config: CheckpointConfig,
    trained: Trained,
    scored: DevScores | None,
    calibrated: Calibrated | None,
    manifold: Manifold | None = None,
    sketch: Sketch | None = None,
) -> None:
    """README.md and scores.json of a checkpoint."""
    parts = "\n".join(f"| {name} | {size:,} |" for name, size in config.network.parts().items() if size)
    card = f"""# {config.name}

A decoder of sentence embeddings: `{config.network.architecture}`, {config.network.parameters:,} parameters.
It reads {config.network.embedding_dim}-dimensional vectors of {config.encoder or "its embedder"} and writes text.
The text is an approximate reconstruction: it can leave out or invent names, numbers and facts.

{scores_section(config.name, scored)}{calibration_section(calibrated)}{manifold_section(manifold)}\
{sketch_section(sketch)}## Training

- texts: {", ".join(trained.sources)}: {trained.texts:,} lines, {trained.pieces:,} pieces
- licence of the texts: {trained.licence}
- recipe: `{json.dumps(asdict(trained.recipe))}`
- seed: {trained.recipe.seed}{_started(trained.recipe, config)}
- time: {trained.last.seconds / 60:.0f} minutes, {trained.last.step:,} steps, {trained.last.epoch:.1f} passes over
  the texts; CPU threads: {trained.threads} ({platform.machine()}), torch {torch.__version__}
- last training loss: {trained.last.loss:.3f} nats per piece
- dev loss of the averaged weights: {_dev_losses(trained.last)}
{_chosen(trained.last)}

To repeat the training, run this in the folder that the paths begin in. {_repeats(trained)}

```console
$ {shown_command(list(trained.command))}
```

| set | texts | sha256 of texts and vectors |
|---|---|---|
{_sets(trained)}

## Parameters

| part | parameters |
|---|---|
{parts}
| **total** | **{config.network.parameters:,}** |
"""
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    record = {
        **recorded_scores(scored),
        **recorded_checks(calibrated),
        "training": asdict(trained),
    }
    (folder / SCORES_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _started(recipe: Recipe, config: CheckpointConfig) -> str:
    base = recipe.base
    if base is None:
        return ""
    but = ""
    if base.embedding_dim != config.embedding_dim:
        fresh = "the bridge and the gates, which read" if config.network.gated_units else "the bridge, which reads"
        but = f", except {fresh} {base.embedding_dim} dimensions there"
    origin = f"`{base.name}` (sha256 `{base.sha256[:16]}…`)"
    taken = "the pieces and the weights"
    if base.known_pieces is not None:
        taken = f"the weights, and the vectors of {base.known_pieces} of {config.network.vocab_size} pieces,"
    return f"\n- started from {taken} of {origin}{but}; `{base.name}` has its own card"


def _chosen(last: Progress) -> str:
    """Which weights they are, where dev sets chose them."""
    if not last.best_step:
        return ""
    why = "; the run ended early because its patience ran out" if last.annealing else ""
    return (
        f"\n- weights: the average at step {last.best_step:,}, which had the lowest mean dev loss of all reports{why}"
    )


def _sets(trained: Trained) -> str:
    return "\n".join(f"| {one.name} | {one.texts:,} | `{one.sha256[:16]}…` |" for one in trained.sets)


def _repeats(trained: Trained) -> str:
    """How exactly the command repeats the training."""
    if trained.recipe.minutes is not None:
        return "A run that ends by the clock is repeated only about: a faster machine takes more steps."
    return "With the same texts and vectors, on the same kind of machine, it gives the same weights."


def recorded_checks(calibrated: Calibrated | None) -> dict[str, Any]:
    """Their part of scores.json."""
    both: dict[str, Checks | None] = {"calibration": None, "seen_calibration": None}
    if calibrated is not None:
        both = {"calibration": calibrated.checks, "seen_calibration": calibrated.seen_checks}
    return {kind: {way: asdict(one) for way, one in found.items()} if found else None for kind, found in both.items()}


CALIBRATION_TITLE = "## Calibration\n"


def calibration_section(calibrated: Calibrated | None) -> str:
    """With an empty line at its end; nothing where the decoder was not calibrated."""
    if calibrated is None:
        return ""
    told = f"""{CALIBRATION_TITLE}
`overall_quality` is the probability that {calibrated.blind.outcome}.
{_checked(calibrated.blind, calibrated.checks)}
"""
    if calibrated.seen is not None and calibrated.seen_checks is not None:
        told += f"""
Where the decoded text is embedded again, a second model also knows its cosine with the row's vector.
{_checked(calibrated.seen, calibrated.seen_checks)}
"""
    return f"""{told}
`overall_quality` is less reliable on other kinds of text, and empty where rows are decoded with `scores` `none`.

"""


MANIFOLD_TITLE = "## Vectors off the manifold\n"


def manifold_section(manifold: Manifold | None) -> str:
    """With an empty line at its end; nothing where there is no model of real vectors."""
    if manifold is None:
        return ""
    limits = manifold.limits
    least, most = limits.nearness
    return f"""{MANIFOLD_TITLE}
`off_manifold` marks a row whose vector is unlike the vector of any text: noise, for example, or the mean of many
unrelated texts. No text can be faithful to such a vector. Scaled to unit length, a vector counts as off when more than
{limits.outside:.2%} of its squared distance from the mean lies in the {len(manifold.directions)} directions that
real vectors use least, or when its cosine with the mean is not between {least:.2f} and {most:.2f}. The model was fitted
on half of {limits.rows:,} vectors of texts, and the limits were set on a quarter. Of the last quarter,
{limits.false_alarms:.1%} count as off; of Gaussian noise, {limits.noise_found:.1%}; of the means of {MANY} of these
vectors drawn at random, {limits.centroids_found:.1%}. A vector that does not count as off may still belong to no text:
the mean of similar texts, for example. Vectors of other kinds of text may count as off.

"""


SKETCH_TITLE = "## Sketch\n"


def sketch_section(sketch: Sketch | None) -> str:
    """With an empty line at its end; nothing where there is no sketch."""
    if sketch is None:
        return ""
    fit, words, pairs = sketch.fit, len(sketch.words), len(sketch.pairs)
    return f"""{SKETCH_TITLE}
The sketch estimates the embedding of a text from its words, without an encoder. It has {words:,} words and
{pairs:,} pairs of neighbouring words in {sketch.rank} of {sketch.embedding_dim} dimensions, {sketch.bytes / 1e6:.1f} MB
in all. It was fitted to {fit.texts:,} texts with a ridge of {fit.ridge:g}. When {fit.held_out:,} of them were held out,
the mean cosine between their sketches and their embeddings was {fit.cosine:.3f}.

"""


def with_section(card: str, section: str) -> str:
    """An older card with this section, in place of one with the same title; else before its training or at its end."""
    heading = section[: section.index("\n") + 1]
    before, found, rest = card.partition(heading)
    if found:
        return before + section + (rest[rest.index("## ") :] if "## " in rest else "")
    before, training, rest = card.partition("## Training\n")
    return before + section + training + rest


def _checked(calibration: Calibration, checks: Checks) -> str:
    rows = "\n".join(
        f"| {way} | {one.rows:,} | {one.base_rate:.1%} | {one.auroc:.3f} | {one.ece:.3f} |"
        for way, one in checks.items()
    )
    return f"""It was fitted to {calibration.rows:,} texts of held-out rows, decoded in {len(checks)} ways.
Five-fold cross-validation gave the AUROC and the expected calibration error (ECE, 10 bins):

| decoded | rows | faithful | AUROC | ECE |
|---|---|---|---|---|
{rows}{_curves(checks)}"""


def _curves(checks: Checks) -> str:
    """A row for each tenth of overall_quality, a column for each way of decoding; nothing where there is no curve."""
    if not any(one.curve for one in checks.values()):
        return ""
    found = {way: {one.tenth: one for one in report.curve} for way, report in checks.items()}
    rows = "\n".join(
        f"| {tenth / 10:.1f} to {(tenth + 1) / 10:.1f} | {' | '.join(_tenth(by.get(tenth)) for by in found.values())} |"
        for tenth in range(10)
    )
    return f"""

How many texts were faithful, by the tenth that their `overall_quality` is in:

| overall_quality | {" | ".join(found)} |
|---|{"---|" * len(found)}
{rows}"""


def _tenth(one: Reliability | None) -> str:
    return f"{one.faithful:.0%} of {one.rows:,}" if one else "no text"


def _dev_losses(last: Progress) -> str:
    return ", ".join(f"{name} {loss:.3f}" for name, loss in last.dev_loss.items()) or "no dev set"
