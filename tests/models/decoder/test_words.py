"""A text is split into words, and comes back."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unembed.models.decoder.words import (
    Word,
    capitalised,
    ends_sentence,
    join,
    keys,
    split,
    starts_capital,
    surfaces,
    takes_space,
)

TEXT = st.text() | st.text(st.sampled_from("aZß 1.,!?;:\"'-\t\n 。、かカ漢กΣİ한йЁ„“«»—([؟।"))


@given(TEXT)
def test_a_text_with_single_spaces_comes_back(text: str) -> None:
    text = re.sub(" +", " ", text).rstrip(" ")
    assert join(split(text)) == text


@given(TEXT)
def test_the_fast_ways_see_the_same_words(text: str) -> None:
    words = split(text)
    assert surfaces(text) == [word.surface for word in words]
    assert keys(text) == [word.key for word in words]


@given(TEXT)
def test_a_word_is_never_empty_and_holds_no_space(text: str) -> None:
    assert all(word.surface and " " not in word.surface for word in split(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't go, Tom!", ["Don't", " go", ",", " Tom", "!"]),
        ('He said: "no..."', ["He", " said", ":", ' "', "no", ".", ".", ".", '"']),
        ("Größe 3,5", ["Größe", " 3", ",", "5"]),
        ("„Да“, «Ёж» (1)…", ["„", "Да", "“", ",", " «", "Ёж", "»", " (", "1", ")", "…"]),
        ("Nein — nie: O'Hara", ["Nein", " —", " nie", ":", " O'Hara"]),
        ("أين هو؟", ["أين", " هو", "؟"]),
        ("यह हिन्दी है।", ["यह", " हिन्दी", " है", "।"]),
        ("私はAIです。", ["私", "は", "AI", "で", "す", "。"]),
        ("ไป ไหน", ["ไ", "ป", " ไ", "ห", "น"]),
        ("나는 학생이다.", ["나는", " 학생이다", "."]),
        ("a\tb\n c", ["a", "\t", "b", "\n", " c"]),
        (" first", [" first"]),
        ("", []),
    ],
)
def test_what_a_word_is(text: str, words: list[str]) -> None:
    assert [join([word]) for word in split(text)] == words


def test_every_white_space_but_a_plain_one_is_a_word_of_its_own() -> None:
    spaces = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace() and chr(code) != " "]
    assert len(spaces) > 20
    for space in spaces:
        assert surfaces(f"a{space}{space}b") == ["a", space, space, "b"]


def test_how_a_word_is_written_is_not_what_it_counts_as() -> None:
    assert keys("The THE the ΣΑΣ") == ["the", "the", "the", "σας"]
    assert Word("Straße", True).key == "straße"


def test_only_a_letter_with_a_capital_of_one_character_gets_it() -> None:
    assert [capitalised(surface) for surface in ("she", "Berlin")] == ["She", "Berlin"]
    # And a letter without a capital of one character stays as it is
    assert [capitalised(surface) for surface in ("éa", "ßa", "3rd", "漢", "")] == ["Éa", "ßa", "3rd", "漢", ""]


@pytest.mark.parametrize(
    ("before", "surface", "spaced"),
    [
        ("Er", "ging", True), ("Er", ".", False), ("Er", "“", False), ("Er", "—", True), ("—", "ging", True),
        ("„", "Er", False), (" (", "Er", False), (' "', "Er", False), ('"', "Er", True), ("»", "Er", True),
        (" «", "Er", False), ("¿", "Qué", False), ("は", "で", False),
    ],
)  # fmt: skip
def test_a_word_has_a_space_before_it_unless_a_mark_opened(before: str, surface: str, spaced: bool) -> None:
    word = Word(before.strip(), before.startswith(" "))
    assert takes_space(surface, word, first=False) == spaced


def test_a_quotation_mark_at_the_start_of_a_text_opens() -> None:
    assert not takes_space("Er", Word('"'), first=True)


def test_capitals_and_the_ends_of_sentences_are_seen() -> None:
    words = split("Oh! is it Élan? 3")
    assert [word.surface for word in words if starts_capital(word)] == ["Oh", "Élan"]
    assert [word.surface for word in words if ends_sentence(word)] == ["!", "?"]
