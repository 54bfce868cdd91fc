"""The card of an adapted decoder: from which decoder, with how many pairs, and how good it became."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from unembed.models.decoder.checkpoint import CARD_FILE, Checkpoint
from unembed.models.decoder.config import V21_PARAMETERS, NetworkConfig
from unembed.models.decoder.ways import BY_DEFAULT
from unembed.models.training.adapt.proof import Proof
from unembed.models.training.calibrate import Calibrated
from unembed.models.training.card import (
    SCORES_FILE,
    calibration_section,
    manifold_section,
    recorded_checks,
    sketch_section,
)
from unembed.models.training.command import shown_command
from unembed.models.training.dev_scores import SCORES_HEAD, SCORES_TITLE, score_row
from unembed.models.training.recipe import StartingDecoder


@dataclass(frozen=True)
class Adapted:
    """What the card tells."""

    sources: tuple[str, ...]
    licence: str
    base: StartingDecoder
    by_encoder: str | None  # what embedded the texts for the base; None: its sketch did
    pairs: int
    held_out: int
    cosine: float
    apart: float
    more_texts: int  # whose embeddings were estimated
    explained: float | None  # of the variance, by such estimates of texts left out
    other_sketches: tuple[str, ...]  # the decoders that they were taken from
    proof: Proof
    seconds: float
    command: tuple[str, ...]  # its words


def write_adapted_card(folder: Path, checkpoint: Checkpoint, adapted: Adapted, calibrated: Calibrated | None) -> None:
    """README.md and scores.json of the checkpoint."""
    config, proof, scores = checkpoint.config, adapted.proof, adapted.proof.scores
    unjudged = (
        ""
        if calibrated or config.calibration is None
        else (
            f"`overall_quality` is judged as the texts of `{adapted.base.name}` are: there were too few held-out texts "
            "to calibrate it anew, so it is less reliable here.\n\n"
        )
    )
    by = f"by {adapted.by_encoder}" if adapted.by_encoder else "by its sketch"
    card = f"""# {config.name}

A decoder of sentence embeddings: `{config.network.architecture}`, {config.network.parameters:,} parameters.
It reads {config.network.embedding_dim}-dimensional vectors of {config.encoder or "its embedder"} and writes text.
It was not trained from the beginning, but adapted from `{adapted.base.name}`, which has its own card, with
{adapted.pairs:,} texts and their embeddings.{_larger(config.network)}
The text is an approximate reconstruction: it can leave out or invent names, numbers and facts.

{SCORES_TITLE}
On {adapted.held_out:,} of the texts, which were held out, decoded by default:

{SCORES_HEAD}
{score_row("held out", scores)}

- `{scores.bleu_signature}`, `{scores.chrf_signature}`
- word F1: between {proof.word_f1.low:.3f} and {proof.word_f1.high:.3f} (95 %), and {proof.shuffled:.3f} with the
  embeddings of other texts

{calibration_section(calibrated)}{unjudged}{manifold_section(checkpoint.manifold)}{sketch_section(checkpoint.sketch)}\
## Training

- texts: {", ".join(adapted.sources)}: {adapted.pairs + adapted.held_out:,}; licence: {adapted.licence}
- adapted from `{adapted.base.name}` (sha256 `{adapted.base.sha256[:16]}…`), which reads {adapted.base.embedding_dim}
  dimensions; the same texts were embedded for it {by}
- the map from these embeddings into its space: a cosine of {adapted.cosine:.3f} on texts left out, {adapted.apart:.3f}
  with other texts
{_estimated(adapted)}- time: {adapted.seconds:.0f} seconds

```console
$ {shown_command(list(adapted.command))}
```
"""
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    proven = {"decoded": BY_DEFAULT, "scores": {"held out": asdict(scores)}}
    record = {**proven, **recorded_checks(calibrated), "adapted": asdict(adapted)}
    (folder / SCORES_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _estimated(adapted: Adapted) -> str:
    if adapted.explained is None:
        return ""
    return (
        f"- {adapted.more_texts:,} texts more, without embeddings: these were estimated, and on texts left out such\n"
        f"  estimates explain {adapted.explained:.0%} of the variance\n"
    )


def _larger(network: NetworkConfig) -> str:
    """Why it has more parameters than decoders that are trained, where it has."""
    if network.parameters <= V21_PARAMETERS:
        return ""
    return (
        f" It has more parameters than a decoder that is trained ({V21_PARAMETERS:,}), as what reads the embedding "
        f"reads {network.embedding_dim} dimensions."
    )
