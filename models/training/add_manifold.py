"""Gives a checkpoint what it needs to know vectors of texts from others; `unembed train` does it by itself.

python -m unembed.models.training.add_manifold ret-v21-minilm vectors.npy more.parquet texts.txt

The vectors are those of texts like those that the decoder was trained on; a .txt is embedded first, by the decoder's
own encoder. The weights are not touched. The model card gets a section; what an earlier call made is replaced.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unembed.corpus import open_corpus
from unembed.errors import DimensionError, InputError
from unembed.models.decoder.checkpoint import CARD_FILE, checkpoint_folder, network_config
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.encoder import shared_encoder
from unembed.models.decoder.manifold import MOST_ROWS, fit_manifold
from unembed.models.decoder.vectors import Vectors
from unembed.models.training.card import with_manifold_section
from unembed.models.training.data import read_texts

READ_ROWS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description="Gives a checkpoint a model of what vectors of texts look like.")
    parser.add_argument("checkpoint", help="a decoder's name, or its folder")
    parser.add_argument("sources", nargs="+", type=Path, help="files of embeddings, or of texts (.txt), one a line")
    options = parser.parse_args()
    folder = checkpoint_folder(options.checkpoint)
    made = fit_manifold(_drawn(options.sources, network_config(folder)))
    made.save(folder)
    card = folder / CARD_FILE
    if card.exists():
        card.write_text(with_manifold_section(card.read_text(encoding="utf-8"), made), encoding="utf-8")
    print(made.limits.model_dump_json(indent=2))


def _drawn(sources: Sequence[Path], config: CheckpointConfig) -> Vectors:
    """Vectors (N, D) from all files, about as many as are used: from each the same share of its rows.

    Raises DimensionError for vectors that this decoder does not read, InputError for texts without an encoder.
    """
    texts = {path: read_texts([path]) for path in sources if path.suffix == ".txt"}
    corpora = {path: open_corpus(path) for path in sources if path not in texts}
    for path, corpus in corpora.items():
        if corpus.dim != config.embedding_dim:
            raise DimensionError.between(corpus.dim, config.embedding_dim, f"the decoder {config.name!r} ({path})")
    if texts and config.encoder is None:
        raise InputError(f"the decoder {config.name!r} names no encoder; expected files of embeddings, not of texts")
    total = sum(map(len, texts.values())) + sum(corpus.rows for corpus in corpora.values())
    share = min(1.0, MOST_ROWS / total)
    generator = np.random.default_rng(0)
    parts = []
    for corpus in corpora.values():
        kept = generator.random(corpus.rows) < share  # (N,)
        for part in corpus.batches(READ_ROWS):
            some = kept[part.first_index : part.first_index + len(part)]
            parts.append(part.embeddings[some].astype(np.float32))
    for lines in texts.values():
        drawn = [line for line in lines if generator.random() < share]
        parts.append(shared_encoder(str(config.encoder)).encode(drawn))
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
