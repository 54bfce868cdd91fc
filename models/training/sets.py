"""Sets of texts and embeddings that a checkpoint is given something from after its training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unembed.errors import DimensionError
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.text_sets import Library, Say, TextSet, read_texts


def read_sets(sets: Sequence[TextSet], config: CheckpointConfig, say: Say) -> tuple[list[str], Vectors]:
    """The N texts of all sets, and their embeddings (N, E); texts without any are embedded by the decoder's encoder.

    Raises DimensionError for embeddings that this decoder does not read, InputError for texts without embeddings or an
    encoder.
    """
    library = Library(config.encoder, None, say)
    texts, parts = [], []
    for one in sets:
        lines = read_texts([one.texts])
        vectors = library.vectors(one, lines)
        if vectors.shape[1] != config.embedding_dim:
            raise DimensionError.between(
                vectors.shape[1], config.embedding_dim, f"the decoder {config.name!r} ({one.name})"
            )
        texts += lines
        parts.append(vectors)
    return texts, np.concatenate(parts)
