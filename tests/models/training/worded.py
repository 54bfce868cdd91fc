"""Texts and vectors that belong together: each vector is the sum of those of its words, and a little noise."""

from __future__ import annotations

import numpy as np

from unembed.models.evaluation.text_sets import EmbeddedTexts

_WORDS = [f"{first}{last}" for first in "bdfgklmnprst" for last in ("al", "em", "in", "or", "us")]


def worded(count: int = 400, dim: int = 32, seed: int = 0, name: str = "mine", embedder: int = 0) -> EmbeddedTexts:
    """`count` texts of four to seven words, no two alike; `embedder` says which vectors the words have."""
    drawn = np.random.default_rng((seed, 1))
    of_words = np.random.default_rng((embedder, 2)).normal(size=(len(_WORDS), dim))
    texts, vectors = dict[str, None](), []
    while len(texts) < count:
        words = drawn.integers(0, len(_WORDS), size=drawn.integers(4, 8))
        text = " ".join(_WORDS[word] for word in words)
        if text not in texts:
            texts[text] = None
            vectors.append(of_words[words].sum(axis=0) + 0.3 * drawn.normal(size=dim))
    rows = np.asarray(vectors, np.float32)
    return EmbeddedTexts(name, list(texts), rows / np.linalg.norm(rows, axis=1, keepdims=True))
