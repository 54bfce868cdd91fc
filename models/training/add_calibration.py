"""Calibrates a checkpoint, on held-out texts and their embeddings; `unembed train` does it by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unembed.models.decoder.catalog import CONFIG_FILE
from unembed.models.decoder.checkpoint import CARD_FILE, checkpoint_folder, network_config
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.encoders.registry import encoder_if_it_runs
from unembed.models.evaluation.text_sets import Say, TextSet, require_distinct_names
from unembed.models.training.calibrate import Calibrated, calibrate_both
from unembed.models.training.card import SCORES_FILE, calibration_section, recorded_checks, with_section
from unembed.models.training.dev_scores import DevScores, recorded_scores, scores_section, together
from unembed.models.training.sets import read_sets


def add_calibration(checkpoint: str | Path, sets: Sequence[TextSet], say: Say) -> Calibrated:
    """Fits it and saves it in the checkpoint's config.json, in place of an earlier one.

    The model card tells of it, and of how well the decoder does on these texts. They must be held out: the decoder was
    not trained on them. Where its encoder is installed, texts that are embedded again get a calibration of their own.
    Raises DimensionError for embeddings that this decoder does not read, InputError for texts without embeddings or an
    encoder, and for two sets of one name.
    """
    require_distinct_names(sets, "--set")
    folder = checkpoint_folder(checkpoint)
    config = network_config(folder)
    held_out = {one.name: read_sets([one], config, say) for one in sets}
    texts, vectors = together(held_out)
    say(f"calibrating on {len(texts):,} held-out rows")
    encoder = encoder_if_it_runs(config.encoder, say)
    decoder = GenerativeDecoder.load(folder)
    made = calibrate_both(decoder, texts, vectors, seen=encoder is not None)
    (folder / CONFIG_FILE).write_text(made.of(config).model_dump_json(indent=2) + "\n", encoding="utf-8")
    scored = DevScores.of(decoder, held_out, encoder, say)
    card, scores = folder / CARD_FILE, folder / SCORES_FILE
    if card.exists():
        told = with_section(card.read_text(encoding="utf-8"), scores_section(config.name, scored))
        card.write_text(with_section(told, calibration_section(made)), encoding="utf-8")
    if scores.exists():
        record = json.loads(scores.read_text(encoding="utf-8")) | recorded_scores(scored) | recorded_checks(made)
        scores.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return made
