"""256 pieces: what goes in comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.decoder.toy import TEXTS, tokenizer
from unembed.models.decoder.catalog import SHIPPED
from unembed.models.decoder.tokenizer import END, PAD, REPLACEMENT, UNKNOWN, Tokenizer, fold_case, unfold_case


@pytest.fixture(scope="module")
def shipped() -> Tokenizer:
    return Tokenizer.load(SHIPPED / "ret-v21-minilm" / "tokenizer.json")


@given(st.text())
def test_folding_case_loses_nothing(text: str) -> None:
    kept = text.replace("\u21e7", "")
    assert unfold_case(fold_case(kept)) == kept


def test_the_shipped_tokenizer_has_256_pieces(shipped: Tokenizer) -> None:
    assert shipped.vocab_size == 256


@pytest.mark.parametrize(
    "text",
    ["I'm sure Tom and Mary saw it.", 'NASA said: "no!"', "It costs $20, or 15%?", "  two  spaces ", "a-b; c", ""],
)
def test_a_text_of_known_characters_comes_back_exactly(shipped: Tokenizer, text: str) -> None:
    assert shipped.decode(shipped.encode(text)) == text


def test_an_unknown_character_is_shown_as_one_and_not_dropped(shipped: Tokenizer) -> None:
    ids = shipped.encode("a 漢 b")
    assert UNKNOWN in ids
    assert shipped.decode(ids) == f"a {REPLACEMENT} b"


def test_reading_stops_at_the_end_mark_and_skips_padding() -> None:
    pieces = tokenizer()
    ids = pieces.encode("I see")
    assert pieces.decode([PAD, *ids, END, *ids]) == "I see"


def test_many_texts_are_encoded_as_each_alone() -> None:
    pieces = tokenizer()
    assert pieces.encode_many(TEXTS) == [pieces.encode(text) for text in TEXTS]


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    pieces = tokenizer()
    pieces.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.encode_many(TEXTS) == pieces.encode_many(TEXTS)


@pytest.mark.parametrize(
    "text",
    [
        "Größe, „Straße“ – Ärger über Übermut!", "Ёж: «съешь ещё этих мягких булок» — й?", "Ναι, Σίσυφος· όχι;",
        "İstanbul'da ığdır", "שלום, עולם!", "هل أنت هنا؟", "यह हिन्दी है।", "ไปไหนมา",
    ],
)  # fmt: skip
def test_texts_of_any_script_of_letters_come_back(text: str) -> None:
    pieces = Tokenizer.train([text] * 20)
    assert pieces.decode(pieces.encode(text)) == text


def test_a_large_alphabet_gets_up_to_half_of_the_pieces() -> None:
    # Given texts of 128 letters, When pieces are learnt, Then all have one
    many = "".join(map(chr, range(0x561, 0x561 + 38))) + "".join(map(chr, range(0x10D0, 0x10D0 + 90)))
    assert UNKNOWN not in Tokenizer.train([many] * 3).encode(many)
    # And of more, the commonest
    too_many = many + "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    pieces = Tokenizer.train([*[many] * 3, too_many])
    assert UNKNOWN not in pieces.encode(many)
    assert pieces.encode(too_many).count(UNKNOWN) == 400


def test_a_few_rare_characters_get_no_piece_beyond_a_third() -> None:
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 85)))
    rare = "".join(map(chr, range(0x5000, 0x5000 + 20)))
    assert Tokenizer.train([*[letters] * 10_000, rare]).encode(rare) == [UNKNOWN] * 20
