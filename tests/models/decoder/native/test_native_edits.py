"""The edits that the engine in C++ proposes are those of the plain editor, which sums each edited text anew."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models.decoder.test_sketch import toy_sketch
from unembed.models.decoder.edits import WEIGHTS, Breadth, Edits
from unembed.models.decoder.native_edits import NativeEditor
from unembed.models.decoder.plain_edits import PlainEditor, applied
from unembed.models.decoder.sketch import END, START, Sketch
from unembed.models.decoder.vectors import Vectors

WORDS = 40
CLOSE = 1e-4  # how far two keys may be apart: float32 sums in another order
BROAD = Breadth(
    shortlist=WORDS, exchanged=5, inserted=4, most=12, moved=6, longest=9, usual=20, likeliest=6, smoothed=8
)
TEXT = st.lists(st.integers(-1, WORDS - 1).filter(lambda word: word not in (START, END)), max_size=9)


def sketch_of(words: int = WORDS, pairs: int = 200) -> Sketch:
    """Of words among which some pairs are known."""
    drawn = np.random.default_rng(7)
    codes = np.sort(drawn.choice(words * words, size=pairs, replace=False))
    names = ("^", "$", *(f"w{number}" for number in range(words - 2)))
    return toy_sketch(names, tuple((int(code) // words, int(code) % words) for code in codes))


SKETCH = sketch_of()


def queries(count: int, seed: int = 0, sketch: Sketch = SKETCH) -> Vectors:
    drawn = np.random.default_rng(seed).normal(size=(count, sketch.judging.shape[1])).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def listed(edits: Edits, text: int, kind: slice) -> list[tuple[tuple[int, ...], float]]:
    """The edits of one kind of one text, each with its key."""
    rows = zip(edits.words[text, kind], edits.lengths[text, kind], edits.keys[text, kind], strict=True)
    return [(tuple(words[:length].tolist()), float(key)) for words, length, key in rows if length]


def assert_same(
    library: ctypes.CDLL, texts: Sequence[list[int]], breadth: Breadth, sketch: Sketch = SKETCH, seed: int = 0
) -> Edits:
    """Both propose the same, but that edits as good as the last that is given may be other ones."""
    plain, given_queries = PlainEditor(sketch), queries(len(texts), seed, sketch)
    found = NativeEditor(library, sketch).edits(texts, given_queries, breadth)
    expected = plain.edits(texts, given_queries, breadth)
    assert found.words.shape == expected.words.shape
    for number, text in enumerate(texts):
        for kind, weight in zip(breadth.kinds, WEIGHTS, strict=True):
            ours, theirs = listed(found, number, kind), listed(expected, number, kind)
            keys = [key for _, key in ours]
            assert keys == pytest.approx([key for _, key in theirs], abs=CLOSE)
            assert keys == sorted(keys, reverse=True)
            anew = plain.keys([applied(edit, text) for edit, _ in ours], given_queries[number], weight)
            assert keys == pytest.approx(anew.tolist(), abs=CLOSE)
            least = keys[-1] + 2 * CLOSE if keys else 0.0
            assert {edit for edit, key in theirs if key > least} <= {edit for edit, _ in ours}
    return found


@given(texts=st.lists(TEXT, min_size=1, max_size=5), seed=st.integers(0, 99))
def test_any_texts_are_edited_as_the_plain_editor_edits_them(
    library: ctypes.CDLL, texts: list[list[int]], seed: int
) -> None:
    assert_same(library, texts, BROAD, seed=seed)


@pytest.mark.parametrize(
    "changes",
    [
        {"shortlist": 7},
        {"shortlist": 1, "exchanged": 1, "inserted": 1},
        {"shortlist": 0},
        {"apart": True},
        {"apart": True, "shortlist": 7},
        {"most": 0},
        {"moved": 0},
        {"most": 1, "moved": 1},
        {"most": 400, "moved": 400},
        {"exchanged": 0},
        {"inserted": 0},
        {"longest": 3},
        {"longest": 1},
        {"usual": 0},
        {"usual": 3, "likeliest": 9},
        {"usual": WORDS, "likeliest": 1},
        {"likeliest": 0},
        {"smoothed": 0},
        {"smoothed": 400},
    ],
    ids=str,
)
def test_each_breadth_is_that_of_the_plain_editor(library: ctypes.CDLL, changes: dict[str, int]) -> None:
    drawn = np.random.default_rng(3)
    texts = [drawn.integers(2, WORDS, size=size).tolist() for size in (6, 1, 0, 12, 3, 2, 8)]
    assert_same(library, texts, replace(BROAD, **changes))


def test_a_sketch_without_pairs_serves(library: ctypes.CDLL) -> None:
    assert_same(library, [[2, 3, 4], [5]], BROAD, sketch_of(pairs=0))


def test_words_that_the_sketch_does_not_know_stay_and_are_moved(library: ctypes.CDLL) -> None:
    found = assert_same(library, [[-1, -1], [-1, 5, -1, 6]], BROAD)
    kept = [set(edit) for edit, _ in listed(found, 1, BROAD.kinds[1])]
    assert kept
    assert all(places == {0, 1, 2, 3} for places in kept)


def test_a_text_of_one_word_loses_it_only_for_another(library: ctypes.CDLL) -> None:
    found = assert_same(library, [[4]], BROAD)
    assert all(len(edit) >= 1 for edit, _ in listed(found, 0, slice(None)))
    assert not listed(found, 0, BROAD.kinds[1])


def test_a_text_of_no_words_gets_one(library: ctypes.CDLL) -> None:
    found = assert_same(library, [[]], BROAD)
    assert {len(edit) for edit, _ in listed(found, 0, slice(None))} == {1}


def test_a_text_that_is_as_long_as_it_may_be_does_not_grow(library: ctypes.CDLL) -> None:
    found = assert_same(library, [list(range(2, 11)), list(range(2, 14))], BROAD)
    assert max(len(edit) for edit, _ in listed(found, 0, slice(None))) == 9
    assert max(len(edit) for edit, _ in listed(found, 1, slice(None))) == 12


def test_a_text_s_edits_depend_neither_on_the_batch_nor_on_the_threads(
    library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, editor, wanted = np.random.default_rng(4), NativeEditor(library, SKETCH), queries(40)
    texts = [drawn.integers(2, WORDS, size=size).tolist() for size in drawn.integers(0, 9, size=40)]
    together = editor.edits(texts, wanted, BROAD)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    shared = editor.edits(texts, wanted, BROAD)
    assert shared.words.tolist() == together.words.tolist()
    assert shared.keys.tolist() == together.keys.tolist()
    for number in range(0, 40, 7):
        alone = editor.edits(texts[number : number + 1], wanted[number : number + 1], BROAD)
        assert listed(alone, 0, slice(None)) == listed(together, number, slice(None))


def test_no_texts_have_no_edits(library: ctypes.CDLL) -> None:
    for editor in (NativeEditor(library, SKETCH), PlainEditor(SKETCH)):
        assert editor.edits([], queries(0), BROAD).words.shape == (0, 26, 9)
