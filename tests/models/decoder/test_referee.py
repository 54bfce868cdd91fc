"""What the encoder says of a few texts corrects the sketch for those that are like them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.decoder.toy import DIM, sketch_of_words, vectors
from unembed.models.decoder.referee import Verdicts, aims, errors, estimated, stages
from unembed.models.decoder.vectors import Vectors

SKETCH = sketch_of_words()
ALIKE = ["Tom sold the sea.", "Tom sold my sea.", "Tom sold the old sea.", "Tom sold sea."]
ROW = np.zeros(len(ALIKE), dtype=np.int64)


def unit(values: Vectors) -> Vectors:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), dtype=np.float32)


def test_texts_that_are_alike_share_the_error_of_the_one_that_was_embedded() -> None:
    # Given four texts alike whose true embeddings are all off their sketches in the same way, and one more unlike them
    sketches = SKETCH.judged(ALIKE)
    off = 0.6 * vectors(1, DIM, seed=7)
    true = unit(sketches + off)
    query = unit(SKETCH.judged(["Tom sold the old house."]) + off).repeat(len(ALIKE), axis=0)
    # When one of them is embedded
    first = np.array([0])
    verdicts = Verdicts.none(len(ALIKE), DIM).with_more(first, true[first], (true * query).sum(axis=1)[first], SKETCH)
    beyond = errors(sketches, verdicts, ROW)
    # Then the cosines of the others are estimated better than by the sketch alone
    wanted = (true * query).sum(axis=1)[1:]
    before = np.abs((sketches * query).sum(axis=1)[1:] - wanted)
    after = np.abs(estimated(sketches, beyond, query)[1:] - wanted)
    assert after.mean() < 0.7 * before.mean()
    # And an edit that aims at the corrected query lands nearer to the true one
    aimed = aims(query, beyond)
    assert (unit(unit(aimed) + off) * query).sum(axis=1).mean() > (unit(query + off) * query).sum(axis=1).mean()


def test_without_a_verdict_nothing_is_corrected() -> None:
    sketches = SKETCH.judged(ALIKE)
    assert not errors(sketches, Verdicts.none(len(ALIKE), DIM), ROW).any()


def test_a_verdict_says_nothing_of_other_rows() -> None:
    # Given the same texts of two rows, of which only the first's are embedded
    sketches, row = SKETCH.judged(ALIKE), np.array([0, 0, 1, 1])
    true = unit(sketches + 0.5 * vectors(1, DIM, seed=7))
    places = np.array([0, 1])
    verdicts = Verdicts.none(4, DIM).with_more(places, true[places], np.array([0.5, 0.4]), SKETCH)
    # Then the other row's are as they were
    beyond = errors(sketches, verdicts, row)
    assert beyond[:2].any()
    assert not beyond[2:].any()


@pytest.mark.parametrize("embed", range(1, 65))
def test_the_stages_embed_as_many_texts_as_are_allowed(embed: int) -> None:
    shares = stages(embed)
    assert sum(shares) == embed
    assert min(shares) >= 1
