"""What edits are for: a text comes nearer to what it should say; and which editor proposes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.models.decoder.test_sketch import RANK, SKETCH, WORDS
from unembed.errors import InputError
from unembed.models.decoder import editors, native_library
from unembed.models.decoder.editors import editor_for
from unembed.models.decoder.edits import Breadth, usual_words
from unembed.models.decoder.plain_edits import PlainEditor, applied, moves
from unembed.models.decoder.sketch import END, START, UNKNOWN, packed


def test_edits_lead_from_one_text_to_another() -> None:
    # Given a text, and another that its sketch is to come near to
    wanted = "Tom sees the 漢"
    query = SKETCH.judged([wanted])[0]
    text = [SKETCH.ids[word] for word in ["Tom", "the"]]
    # When the best edit is taken, again and again
    editor, nearness = PlainEditor(SKETCH), []
    for _ in range(4):
        edits = editor.edits([text], query[None], Breadth(shortlist=9))
        text = applied(edits.words[0, 0, : edits.lengths[0, 0]].tolist(), text)
        nearness.append(float(SKETCH.nearness([" ".join(SKETCH.words[word] for word in text)], query[None])[0]))
    # Then it comes nearer, and as near as the other itself
    assert max(nearness) == pytest.approx(1.0, abs=0.05)
    assert nearness[0] < max(nearness)


def test_a_usual_word_that_the_sketch_hardly_sees_is_put_in_where_it_is_likely() -> None:
    # Given a sketch in which "the" has no meaning, but is likely before "sees"
    table = SKETCH.rows.copy()
    table[2] = table[len(WORDS) + 3] = packed(np.zeros((1, RANK), dtype=np.float32))[0][0]
    priors = SKETCH.priors.copy()
    priors[:] = -9.0
    priors[2], priors[len(WORDS) + 3] = -1.0, -0.1
    pairs = np.array(sorted([(START, 2), (START, 3), (2, 3), (2, 4), (5, END), (6, 7)]), dtype=np.int32)
    sketch = replace(SKETCH, rows=table, priors=priors, pairs=pairs)
    text = [sketch.ids[word] for word in ["Tom", "sees", "字"]]
    # When edits of a text are looked for that already says what it should
    breadth = Breadth(shortlist=9, usual=1, likeliest=1, smoothed=1)
    edits = PlainEditor(sketch).edits([text], sketch.judged(["Tom sees 字"]), breadth)
    # Then that of usual words is this one
    (place,) = range(*breadth.kinds[2].indices(breadth.each))
    assert edits.words[0, place, : edits.lengths[0, place]].tolist() == [0, -1 - sketch.ids["the"], 1, 2]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_invented_word_is_the_first_to_go(place: int) -> None:
    # Given a text with a word that the sketch does not know, which lacks two words besides
    text = [SKETCH.ids[word] for word in ["Tom", "sees"]]
    text.insert(place, UNKNOWN)
    # When edits are looked for
    edits = PlainEditor(SKETCH).edits([text], SKETCH.judged(["Tom sees the 字"]), Breadth(shortlist=9))
    # Then the best is rid of it
    assert place not in edits.words[0, 0, : edits.lengths[0, 0]].tolist()


def test_the_usual_words_begin_with_letters_and_the_marks_are_none() -> None:
    # Given words of which the mark at the start, the full stop and "Tom" are the likeliest
    priors = SKETCH.priors.copy()
    priors[:] = -5.0
    priors[[START, 5, 3]] = 0.0
    # Then "Tom" is the first
    assert usual_words(replace(SKETCH, priors=priors)).tolist() == [3, 2, 4, 6, 7]


def test_moves_keep_all_words() -> None:
    assert list(moves(1)) == []
    assert list(moves(2)) == [[1, 0]]
    assert all(sorted(edit) == list(range(6)) and edit != list(range(6)) for edit in moves(6))


def test_no_order_is_proposed_twice() -> None:
    for count in range(9):
        orders = [tuple(edit) for edit in moves(count)]
        assert len(orders) == len(set(orders))


def test_words_that_nobody_knows_are_the_least_likely() -> None:
    known, unknown = PlainEditor(SKETCH).keys([[2, 3], [2, UNKNOWN]], np.zeros(4, dtype=np.float32))
    assert unknown < known


def test_without_the_engine_s_library_the_plain_editor_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_library, "_found", lambda: (None, "unembed-engine is not installed"))
    native_library.find_native.cache_clear()
    try:
        assert isinstance(editor_for(SKETCH), PlainEditor)
        with pytest.raises(InputError, match="unembed-engine is not installed"):
            editors.editor_for(SKETCH, "native")
    finally:
        native_library.find_native.cache_clear()
    assert isinstance(editor_for(SKETCH, "torch"), PlainEditor)
