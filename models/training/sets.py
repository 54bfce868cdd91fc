"""Sets of texts and embeddings that a checkpoint is given something from after its training."""

from __future__ import annotations

from collections.abc import Sequence

from unembed.errors import DimensionError
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.text_sets import Library, Say, TextSet


def read_sets(sets: Sequence[TextSet], config: CheckpointConfig, say: Say) -> tuple[list[str], Vectors]:
    """The N texts of all sets, and their embeddings (N, E); texts without any are embedded by the decoder's encoder.

    Raises DimensionError for embeddings that this decoder does not read, InputError for texts without embeddings or an
    encoder.
    """
    texts, vectors = Library(config.encoder, None, say).read_all(sets)
    if vectors.shape[1] != config.embedding_dim:
        names = ", ".join(one.name for one in sets)
        raise DimensionError.between(vectors.shape[1], config.embedding_dim, f"the decoder {config.name!r} ({names})")
    return texts, vectors
