"""Texts without embeddings, for a network to learn from: those that were given, and those that ship."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from unembed.errors import InputError
from unembed.models.decoder.catalog import SHIPPED
from unembed.models.decoder.words import surfaces
from unembed.models.evaluation.text_sets import Say, TextSet, read_set
from unembed.models.training.augment import augment

FILE: Final = SHIPPED / "texts" / "sentences.txt"  # of tatoeba_en and commonvoice_en (docs/corpora.md)
LEAST_KNOWN: Final = 0.5  # share of the words of one's own texts that those which ship have to have
LOOKED_AT: Final = 1000  # of one's own texts
MADE: Final = 4.0  # of each of one's own texts, where there are no others


def more_texts(
    sets: Sequence[TextSet], own: Sequence[str], apart: Sequence[str], most: int, seed: int, say: Say
) -> list[str]:
    """At most so many, in a random order: of the sets, then of those that ship, if they are in the language of one's
    own. Where there are none, they are made of one's own. None is of `own` or `apart`, which is held out. Raises what
    `read_set` raises."""
    seen = {text.lower() for text in (*own, *apart)}
    random = np.random.default_rng([seed, 3])
    found: list[str] = []
    for texts in (_given(sets, say), _shipped(own)):
        new = [text for text in dict.fromkeys(texts) if text.lower() not in seen]
        found += [new[place] for place in random.permutation(len(new))]
    if found:
        say(f"learning from {min(most, len(found)):,} texts without embeddings too, of which these are estimated")
        return found[:most]
    try:
        made = augment(own, MADE, seed, apart)
    except InputError:  # nothing can be exchanged
        return []
    say(f"learning from {min(most, len(made)):,} texts made of yours too; with --texts, from such as you have")
    return made[:most]


def _given(sets: Sequence[TextSet], say: Say) -> list[str]:
    return [text for one in sets for text in read_set(one, say).texts]


def _shipped(own: Sequence[str]) -> list[str]:
    """None where the weights are not installed, or the language is another."""
    if not FILE.exists():
        return []
    texts = FILE.read_text(encoding="utf-8").splitlines()
    known = {word.lower() for text in texts for word in surfaces(text)}
    words = [word.lower() for text in own[:LOOKED_AT] for word in surfaces(text)]
    return texts if sum(word in known for word in words) >= LEAST_KNOWN * max(1, len(words)) else []
