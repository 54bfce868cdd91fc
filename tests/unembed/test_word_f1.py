"""Word F1 counts words in any script."""

from __future__ import annotations

import unicodedata

import pytest

from unembed.word_f1 import WORD, word_f1


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("the DOG barks", "The dog barks.", 1.0),
        ("A cat sleeps.", "The dog barks.", 0.0),
        ("a b", "a b c d", 2 / 3),
        ("no", "no no no", 0.5),
        ("the the the", "the sea", 2 * 1 / 5),
        ("i don't", "I don't know", 0.8),
        ("don't go", "do not go", 2 * 1 / 5),
        ("", "words", 0.0),
        ("", "...", 1.0),
        ("“Die Straße”", "„DIE STRASSE“", 1.0),
        ("ёж идёт", "«Ёж» — идёт!", 1.0),
        ("यह हिन्दी है", "यह किताब है।", 2 / 3),
        ("私は犬", "私は猫。", 2 / 3),
    ],
)
def test_it_compares_bags_of_words(text: str, reference: str, expected: float) -> None:
    assert word_f1(text, reference) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It’s a dog's life, café!", ["It’s", "a", "dog's", "life", "café"]),
        (unicodedata.normalize("NFD", "Größe й"), [unicodedata.normalize("NFD", word) for word in ("Größe", "й")]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया"]),
        ("مَرحَبًا، أين؟", ["مَرحَبًا", "أين"]),
        ("나는 학생이다.", ["나는", "학생이다"]),
        ("AIです。", ["AI", "で", "す"]),
    ],
)
def test_what_a_word_is(text: str, words: list[str]) -> None:
    assert WORD.findall(text) == words
