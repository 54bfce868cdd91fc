"""Reads what a run is trained on and judged by, and looks at it first."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from unembed.corpus.stacked import picked
from unembed.errors import InputError
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.text_sets import EmbeddedTexts, Library, Say, TextSet, together
from unembed.models.training.checks import check
from unembed.models.training.chunks import chunks
from unembed.models.training.recipe import Check

DESPITE = "to use it all the same, say --check no"


@dataclass(frozen=True)
class SetRecord:
    """What a set was when it was read."""

    name: str
    texts: int
    sha256: str  # of its texts and its vectors

    @classmethod
    def of(cls, one: EmbeddedTexts) -> SetRecord:
        digest = hashlib.sha256()
        for texts, vectors in zip(chunks(one.texts), chunks(one.vectors), strict=True):
            digest.update("\n".join([*texts, ""]).encode("utf-8", "surrogatepass"))
            digest.update(np.ascontiguousarray(vectors).reshape(-1).view(np.uint8).data)  # no copy of what is mapped
        return cls(one.name, len(one.texts), digest.hexdigest())


@dataclass(frozen=True, eq=False)
class CheckedSets:
    texts: list[str]  # (N,), of all training sets, without those that are in a dev set
    vectors: Vectors  # (N, D)
    dev: list[EmbeddedTexts]
    records: tuple[SetRecord, ...]  # of all sets, as they were read


def read_checked(
    train: Sequence[TextSet], dev: Sequence[TextSet], library: Library, fresh: Library, when: Check, say: Say
) -> CheckedSets:
    """Says what was found. Raises InputError for sets whose dimensions differ, and for what a training would be
    senseless on; and what reading raises. `fresh` is the library of the dev sets."""
    read, held_out = library.read_each(train), fresh.read_each(dev)
    dim = read[0].vectors.shape[1]
    for one in held_out:
        if one.vectors.shape[1] != dim:
            theirs = one.vectors.shape[1]
            raise InputError(
                f"{one.name} has embeddings of {theirs} dimensions; expected {dim}, like the training texts"
            )
    texts, vectors = together(read)
    records = tuple(map(SetRecord.of, (*read, *held_out)))
    if when is Check.NO:
        return CheckedSets(texts, vectors, held_out, records)
    found = check(read, held_out)
    for note in found.notes:
        say(note)
    if found.refusals:
        first, *others = found.refusals
        for refusal in others:
            say(refusal)
        raise InputError(f"{first}; {DESPITE}")
    return CheckedSets(list(compress(texts, found.kept)), picked(vectors, found.kept), held_out, records)
