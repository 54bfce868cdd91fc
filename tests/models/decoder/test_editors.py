"""What edits are for: a text comes nearer to what it should say; and which editor proposes them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.decoder.test_sketch import SKETCH
from unembed.errors import InputError
from unembed.models.decoder import editors, native_library
from unembed.models.decoder.editors import editor_for
from unembed.models.decoder.edits import Breadth
from unembed.models.decoder.plain_edits import PlainEditor, applied, moves
from unembed.models.decoder.sketch import UNKNOWN


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
