"""Texts without embeddings, for a network to learn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unembed.models.evaluation.text_sets import Say, TextSet, read_set


def more_texts(sets: Sequence[TextSet], own: Sequence[str], apart: Sequence[str], seed: int, say: Say) -> list[str]:
    """Those of the sets, once each and in a random order, without `own` and `apart`, which is held out. Raises what
    `read_set` raises."""
    seen = {text.lower() for text in (*own, *apart)}
    given = dict.fromkeys(text for one in sets for text in read_set(one, say).texts)
    new = [text for text in given if text.lower() not in seen]
    return [new[place] for place in np.random.default_rng([seed, 3]).permutation(len(new))]
