"""Gives a checkpoint a self-test, from the first vectors of a corpus; `unembed train` does it by itself."""

from __future__ import annotations

from pathlib import Path

from unembed.models.decoder.checkpoint import checkpoint_folder, load_checkpoint
from unembed.models.decoder.self_test import ROWS, SelfTest, make_self_test
from unembed.models.evaluation.text_sets import open_vectors


def add_self_test(checkpoint: str | Path, corpus: str | Path) -> SelfTest:
    """Makes it of a source of embeddings, and saves it in the checkpoint's folder, in place of an earlier one."""
    loaded = load_checkpoint(checkpoint)
    vectors = next(open_vectors(corpus).batches(ROWS)).embeddings
    made = make_self_test(loaded.network, loaded.tokenizer, vectors)
    made.save(checkpoint_folder(checkpoint))
    return made
