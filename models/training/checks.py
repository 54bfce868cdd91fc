"""What is wrong with texts and embeddings, found before a decoder is trained on them.

Pure: nothing is read, written or said here. Used by `unembed train` and `tune`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from unembed.models.evaluation.text_sets import EmbeddedTexts
from unembed.models.training.belonging import RIGHT, Belonging, Estimator, belonging_by, estimator_of, units

SAMPLE: Final = 20_000  # vectors that are looked at
LEAST_OF_OTHERS: Final = 30  # texts of another set that show whether its vectors are of the same embedder
REPEATED: Final = 0.01  # share of texts, or of vectors, that is worth a word
MOST_ALIKE: Final = 0.5  # share of vectors that may be one and the same
UNEVEN: Final = 0.01  # of the lengths of vectors: their deviation, or that of their mean from 1
MOST_SEEN: Final = 0.5  # share of the training texts that may be left out for being held out

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Checked:
    """What was found."""

    notes: tuple[str, ...]  # in a line each
    refusals: tuple[str, ...]  # what makes the training senseless; the first is the gravest
    kept: Mask  # (N,): of all training texts those that are in no dev set


def check(train: Sequence[EmbeddedTexts], dev: Sequence[EmbeddedTexts]) -> Checked:
    """Of sets that have one dimension."""
    notes, refusals = list[str](), list[str]()
    first = None  # what the first set says of vectors
    for place, one in enumerate((*train, *dev)):
        notes += [*_repeated_texts(one), *_lengths(one)]
        refusals += _one_vector(one)
        estimator = estimator_of(one.texts, one.vectors)
        if estimator is not None:
            refusals += _not_theirs(one, belonging_by(estimator, one.texts, one.vectors))
        first = estimator if place == 0 else first
    if first is not None and not refusals:
        notes += _other_embedder(first, train[0].name, (*train[1:], *dev))
    kept, seen = _unseen(train, dev)
    return Checked((*notes, *seen), tuple(refusals), kept)


def _repeated_texts(one: EmbeddedTexts) -> list[str]:
    counts = Counter(one.texts)
    repeated = len(one.texts) - len(counts)
    if repeated <= REPEATED * len(one.texts):
        return []
    text, times = counts.most_common(1)[0]
    most = f"{_shortened(text)} {times:,} times"
    return [f"{one.name}: {repeated:,} of {len(one.texts):,} texts repeat others; {most}"]


def _lengths(one: EmbeddedTexts) -> list[str]:
    lengths = np.linalg.norm(_sample(one), axis=1)
    if lengths.std() <= UNEVEN * lengths.mean() and abs(lengths.mean() - 1.0) <= UNEVEN:
        return []
    return [
        f"{one.name}: the embeddings have lengths from {lengths.min():.3g} to {lengths.max():.3g}; all are taken at "
        "length 1, here as in decoding"
    ]


def _one_vector(one: EmbeddedTexts) -> list[str]:
    """Where many texts have one vector: an encoder that failed, or answered everything alike."""
    texts: dict[bytes, set[str]] = {}
    rows = _rows(len(one.texts))
    for row, vector in zip(rows, _sample(one), strict=True):
        texts.setdefault(vector.tobytes(), set()).add(one.texts[row])
    most = max(map(len, texts.values()))
    if most <= max(2, MOST_ALIKE * len({one.texts[row] for row in rows})):
        return []
    return [f"{one.name}: {most:,} different texts, of {len(rows):,}, have one and the same embedding"]


def _not_theirs(one: EmbeddedTexts, found: Belonging) -> list[str]:
    if found.right:
        return []
    where, count = "", f"{len(one.texts):,} rows"
    if found.wrong_rows:
        begin, end = found.wrong_rows
        where = f" from about row {begin:,}" + ("" if end == len(one.texts) else f" to {end:,}") + f" of {count}"
    why = f"the texts fit the vectors {_later(found.offset)}, as if a line were missing or too many"
    if not found.offset:
        why = "were texts and vectors shuffled or sorted apart, or are they of other files?"
    return [
        f"{one.name}: the embeddings do not belong to the texts{where}: estimated from its words, a text's vector is "
        f"nearer to its own than to another's in {found.share:.0%} of comparisons (chance: 50 %, right pairs: 96 % and "
        f"more; mean cosine {found.cosine:.2f} with its own, {found.others:.2f} with others); {why}"
    ]


def _later(offset: int) -> str:
    return f"{abs(offset)} row{'' if abs(offset) == 1 else 's'} {'further down' if offset > 0 else 'further up'}"


def _other_embedder(estimator: Estimator, first: str, others: Sequence[EmbeddedTexts]) -> list[str]:
    """Sets for which vectors that are estimated as those of the first one are wrong."""
    return [note for one in others if (note := _compared(estimator, first, one))]


def _compared(estimator: Estimator, first: str, one: EmbeddedTexts) -> str:
    rows = _rows(len(one.texts), 500)
    if len(rows) < LEAST_OF_OTHERS:
        return ""
    nearer, _, _ = estimator.places([one.texts[row] for row in rows], units(one.vectors, rows))
    if (share := float(nearer.mean())) >= RIGHT:
        return ""
    return (
        f"{one.name}: its embeddings seem to be of another embedder than those of {first}, or its texts are of quite "
        f"another kind: what holds for {first} tells its vectors from each other in {share:.0%} of comparisons "
        "(chance: 50 %)"
    )


def _unseen(train: Sequence[EmbeddedTexts], dev: Sequence[EmbeddedTexts]) -> tuple[Mask, list[str]]:
    """The training texts that are in no dev set, and what to say of the others."""
    held_out = {_key(text) for one in dev for text in one.texts}
    texts = [text for one in train for text in one.texts]
    kept = np.array([_key(text) not in held_out for text in texts], np.bool_)
    seen = int((~kept).sum())
    if not seen:
        return kept, []
    names = ", ".join(one.name for one in dev)
    if seen > MOST_SEEN * len(texts):
        return np.ones(len(texts), np.bool_), [
            f"{seen:,} of the {len(texts):,} training texts are in {names} too: the scores will be of texts that the "
            "decoder has seen"
        ]
    return kept, [f"leaving out {seen:,} of the {len(texts):,} training texts, as they are in {names} too"]


def _key(text: str) -> str:
    return " ".join(text.casefold().split())


def _rows(count: int, most: int = SAMPLE) -> npt.NDArray[np.int64]:
    """At most so many, in order."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _sample(one: EmbeddedTexts) -> npt.NDArray[np.float32]:
    return np.asarray(one.vectors[_rows(len(one.texts))], np.float32)


def _shortened(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else text[: most - 1] + "…")
