"""What is wrong with texts and embeddings is found before a decoder is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.models.training.worded import worded
from unembed.models.evaluation.text_sets import EmbeddedTexts
from unembed.models.training.belonging import belonging
from unembed.models.training.checks import Checked, check

MINE = worded()
HELD_OUT = worded(100, seed=1, name="held-out")


def of(train: EmbeddedTexts, dev: EmbeddedTexts = HELD_OUT) -> Checked:
    return check([train], [dev])


def with_vectors(vectors: np.ndarray) -> EmbeddedTexts:
    return replace(MINE, vectors=vectors)


def shuffled(rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """The vectors of MINE, those of these rows among themselves in another order."""
    vectors = MINE.vectors.copy()
    vectors[rows] = vectors[np.random.default_rng(0).permutation(rows)]
    return vectors


def test_nothing_is_said_of_texts_and_embeddings_that_are_as_they_should_be() -> None:
    found = of(MINE)
    assert found.notes == ()
    assert found.refusals == ()
    assert found.kept.all()


def test_embeddings_in_another_order_than_their_texts_are_refused_with_the_numbers() -> None:
    (refusal,) = of(with_vectors(shuffled(np.arange(400)))).refusals
    assert "mine: the embeddings do not belong to the texts: " in refusal
    assert "% of comparisons (chance: 50 %, right pairs: 96 % and more; mean cosine" in refusal
    assert "were texts and vectors shuffled or sorted apart" in refusal


@pytest.mark.parametrize(("by", "where"), [(1, "1 row further down"), (-2, "2 rows further up")])
def test_embeddings_that_are_out_of_step_with_their_texts_are_refused_with_the_step(by: int, where: str) -> None:
    (refusal,) = of(with_vectors(np.roll(MINE.vectors, by, axis=0))).refusals
    assert f"the texts fit the vectors {where}, as if a line were missing or too many" in refusal


def test_a_line_that_is_missing_in_the_middle_is_found() -> None:
    # Given texts that lack one in the middle, so that those after it have the vector of the one before
    one = worded(1001)
    texts = [*one.texts[:600], *one.texts[601:]]
    # When they are looked at
    found = belonging(texts, one.vectors[:1000])
    # Then it is known about where, and by how much
    assert found is not None
    assert not found.right
    assert found.wrong_rows is not None
    begin, end = found.wrong_rows
    assert 500 <= begin <= 700
    assert end == 1000
    assert found.offset == 1
    (refusal,) = of(EmbeddedTexts("mine", texts, one.vectors[:1000])).refusals
    assert f"do not belong to the texts from about row {begin:,} of 1,000 rows" in refusal


def test_too_few_pairs_to_tell_are_let_be() -> None:
    few = worded(60)
    assert belonging(few.texts, few.vectors[::-1]) is None


def test_one_vector_for_all_texts_is_refused() -> None:
    (refusal, *_) = of(with_vectors(np.tile(MINE.vectors[:1], (400, 1)))).refusals
    assert refusal == "mine: 400 different texts, of 400, have one and the same embedding"


def test_lengths_other_than_one_are_said_and_no_harm() -> None:
    found = of(with_vectors(MINE.vectors * np.linspace(1, 3, 400, dtype=np.float32)[:, None]))
    assert found.refusals == ()
    assert found.notes == (
        "mine: the embeddings have lengths from 1 to 3; all are taken at length 1, here as in decoding",
    )


def test_texts_that_repeat_are_counted() -> None:
    texts = [MINE.texts[0]] * 10 + list(MINE.texts[10:])
    vectors = np.concatenate([np.tile(MINE.vectors[:1], (10, 1)), MINE.vectors[10:]])
    (note,) = of(EmbeddedTexts("mine", texts, vectors)).notes
    assert note.startswith("mine: 9 of 400 texts repeat others; '")
    assert note.endswith("' 10 times")


def test_training_texts_that_are_held_out_too_are_left_out() -> None:
    # Given a dev set of which two texts, one of them in capitals, are among those of the training
    seen = replace(HELD_OUT, texts=[MINE.texts[7], MINE.texts[9].upper(), *HELD_OUT.texts[2:]])
    found = check([MINE], [seen])
    # Then those two are not trained on
    assert np.flatnonzero(~found.kept).tolist() == [7, 9]
    assert found.notes == ("leaving out 2 of the 400 training texts, as they are in held-out too",)


def test_where_nearly_all_are_held_out_too_it_is_only_said() -> None:
    found = check([MINE], [replace(MINE, name="held-out")])
    assert found.kept.all()
    assert found.notes == (
        "400 of the 400 training texts are in held-out too: the scores will be of texts that the decoder has seen",
    )


def test_held_out_texts_of_another_embedder_are_said() -> None:
    (note,) = of(MINE, worded(100, seed=1, name="held-out", embedder=5)).notes
    assert "held-out: its embeddings seem to be of another embedder than those of mine" in note
