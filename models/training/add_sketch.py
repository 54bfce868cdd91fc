"""Gives a checkpoint a sketch, fitted to texts and their embeddings; `unembed train` does it by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unembed.models.decoder.checkpoint import CARD_FILE, checkpoint_folder, network_config
from unembed.models.decoder.sketch import Sketch
from unembed.models.evaluation.text_sets import Say, TextSet
from unembed.models.training.card import sketch_section, with_section
from unembed.models.training.sets import read_sets
from unembed.models.training.sketch import fit_sketch


def add_sketch(checkpoint: str | Path, sets: Sequence[TextSet], say: Say) -> Sketch:
    """Fits it and saves it in the checkpoint's folder, in place of an earlier one; the model card gets a section.

    Texts without embeddings are embedded by the decoder's encoder. They should be like those that the decoder was
    trained on. The weights are not touched. Raises DimensionError for embeddings that this decoder does not read,
    InputError for texts without embeddings or an encoder, and for too few texts.
    """
    folder = checkpoint_folder(checkpoint)
    texts, vectors = read_sets(sets, network_config(folder), say)
    made = fit_sketch(texts, vectors, say=say)
    made.save(folder)
    card = folder / CARD_FILE
    if card.exists():
        card.write_text(with_section(card.read_text(encoding="utf-8"), sketch_section(made)), encoding="utf-8")
    return made
