"""Teaches a checkpoint to tell embeddings of texts from other vectors; `unembed train` does it by itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unembed.corpus.named import Named
from unembed.corpus.texts import lines_of
from unembed.errors import DimensionError, InputError
from unembed.models.decoder.checkpoint import CARD_FILE, checkpoint_folder, network_config
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.manifold import MOST_ROWS, Manifold, fit_manifold
from unembed.models.decoder.vectors import Vectors
from unembed.models.encoders.registry import shared_encoder
from unembed.models.evaluation.text_sets import open_vectors
from unembed.models.training.card import manifold_section, with_section

READ_ROWS = 4096


def add_manifold(checkpoint: str | Path, sources: Sequence[str | Path]) -> Manifold:
    """Fits it and saves it in the checkpoint's folder, in place of an earlier one; the model card gets a section.

    `sources` are of embeddings, or files of texts, one a line, which the decoder's encoder embeds. They should be like
    those that the decoder was trained on. The weights are not touched.
    """
    folder = checkpoint_folder(checkpoint)
    made = fit_manifold(_drawn(sources, network_config(folder)))
    made.save(folder)
    card = folder / CARD_FILE
    if card.exists():
        card.write_text(with_section(card.read_text(encoding="utf-8"), manifold_section(made)), encoding="utf-8")
    return made


def _drawn(sources: Sequence[str | Path], config: CheckpointConfig) -> Vectors:
    """Vectors (N, D) from all files, about as many as are used: from each the same share of its rows.

    Raises DimensionError for vectors that this decoder does not read, InputError for texts without an encoder.
    """
    named = [Named.parse(os.fspath(source)) for source in sources]
    texts = [[line for line in lines_of(one) if line.strip()] for one in named if one.is_lines]
    corpora = [open_vectors(source) for source, one in zip(sources, named, strict=True) if not one.is_lines]
    for corpus in corpora:
        if corpus.dim != config.embedding_dim:
            whose = f"the decoder {config.name!r} ({corpus.what})"
            raise DimensionError.between(corpus.dim, config.embedding_dim, whose)
    if texts and config.encoder is None:
        raise InputError(f"the decoder {config.name!r} names no encoder; expected files of embeddings, not of texts")
    total = sum(map(len, texts)) + sum(corpus.rows for corpus in corpora)
    share = min(1.0, MOST_ROWS / total)
    generator = np.random.default_rng(0)
    parts = []
    for corpus in corpora:
        kept = generator.random(corpus.rows) < share  # (N,)
        for part in corpus.batches(READ_ROWS):
            some = kept[part.first_index : part.first_index + len(part)]
            parts.append(part.embeddings[some].astype(np.float32))
    for lines in texts:
        drawn = [line for line in lines if generator.random() < share]
        parts.append(shared_encoder(str(config.encoder)).encode(drawn))
    return np.concatenate(parts)
