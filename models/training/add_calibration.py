"""Calibrates a checkpoint, on held-out texts and their embeddings; `unembed train` does it by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unembed.models.decoder.catalog import CONFIG_FILE
from unembed.models.decoder.checkpoint import CARD_FILE, checkpoint_folder, network_config
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.encoders.registry import is_installed
from unembed.models.evaluation.text_sets import Say, TextSet
from unembed.models.training.calibrate import Calibrated, calibrate_both
from unembed.models.training.card import SCORES_FILE, calibration_section, recorded_checks, with_section
from unembed.models.training.sets import read_sets


def add_calibration(checkpoint: str | Path, sets: Sequence[TextSet], say: Say) -> Calibrated:
    """Fits it and saves it in the checkpoint's config.json, in place of an earlier one; the model card gets a section.

    The texts must be held out: the decoder was not trained on them. Where its encoder is installed, texts that are
    embedded again get a calibration of their own. Raises DimensionError for embeddings that this decoder does not read,
    InputError for texts without embeddings or an encoder.
    """
    folder = checkpoint_folder(checkpoint)
    config = network_config(folder)
    texts, vectors = read_sets(sets, config, say)
    say(f"calibrating on {len(texts):,} held-out rows")
    seen = config.encoder is not None and is_installed(config.encoder)
    made = calibrate_both(GenerativeDecoder.load(folder), texts, vectors, seen=seen)
    (folder / CONFIG_FILE).write_text(made.of(config).model_dump_json(indent=2) + "\n", encoding="utf-8")
    card, scores = folder / CARD_FILE, folder / SCORES_FILE
    if card.exists():
        card.write_text(with_section(card.read_text(encoding="utf-8"), calibration_section(made)), encoding="utf-8")
    if scores.exists():
        record = json.loads(scores.read_text(encoding="utf-8")) | recorded_checks(made)
        scores.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return made
