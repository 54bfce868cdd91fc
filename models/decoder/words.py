"""A text as words with their spacing, and back.

A word is a run of characters other than white space and `. , ! ? ; : "`, or one of those marks: the chunks within which
the tokenizer makes its pieces. Scripts that put no spaces between words, such as Chinese, Japanese and Thai, are split
into single characters. A white space other than a plain space is a word of its own, so that nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

_MARKS: Final = '.,!?;:"'
# What `\s` stands for, spelled out: twice as fast.
_SPACES: Final = r" \t-\r\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Thai and Lao; Tibetan; Myanmar; Khmer; from the CJK radicals and punctuation through kana and the ideographs; their
# compatibility and full-width forms; the ideographs beyond the basic plane. Not Hangul: Korean has spaces.
_UNSPACED: Final = (
    r"\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
    r"\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
)
_ONE: Final = rf"[^{_SPACES}{_MARKS}{_UNSPACED}]+|[^ ]"  # a run, or any other character
_WORD: Final = re.compile(_ONE)
_SPACED_WORD: Final = re.compile(f"( ?)({_ONE})")
_CLOSE: Final = re.compile(f"[{_MARKS}{_UNSPACED}]")
_SENTENCE_ENDS: Final = frozenset(".!?。！？")


class Word(NamedTuple):
    surface: str  # as it is written
    spaced: bool = False  # a space before it

    @property
    def key(self) -> str:
        """What it counts as, however it is written: "The" and "the" are one word."""
        return self.surface.lower()


def split(text: str) -> tuple[Word, ...]:
    """The words of a text. `join` gives it back, unless it has several spaces in a row or one at its end."""
    return tuple([Word(surface, space != "") for space, surface in _SPACED_WORD.findall(text)])


def join(words: Iterable[Word]) -> str:
    return "".join([f" {word.surface}" if word.spaced else word.surface for word in words])


def surfaces(text: str) -> list[str]:
    """The words of a text without their spacing: faster than `split`."""
    return _WORD.findall(text)


def keys(text: str) -> list[str]:
    """The keys of the words of a text: what is counted and looked up."""
    return [surface.lower() for surface in _WORD.findall(text)]


def ends_sentence(word: Word) -> bool:
    """Whether the next word begins a sentence."""
    return word.surface in _SENTENCE_ENDS


def starts_capital(word: Word) -> bool:
    return word.surface[:1].isupper()


def takes_space(surface: str) -> bool:
    """Whether a word usually has a space before it: a mark has none, nor a character of a script without spaces."""
    return not _CLOSE.fullmatch(surface)


def capitalised(surface: str) -> str:
    """As at the start of a text: the first letter as a capital, if it has one of a single character."""
    first = surface[:1].upper()
    return first + surface[1:] if len(first) == 1 else surface
