"""A text as words with their spacing, and back.

A word is a run of characters other than white space and the marks around words, such as `. , ! ? ; : " ( ) „ « ¿ ؟ ।`,
or one of those marks. Hyphens and apostrophes are within words. Scripts that put no spaces between words, such as
Chinese, Japanese and Thai, are split into single characters. A white space other than a plain space is a word of its
own, so that nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from unembed.word_f1 import UNSPACED

_OPENING: Final = "([„¿¡"  # written next to the word after them
_EITHER: Final = '"“”«»‹›'  # quotation marks that open in one language, or place, and close in another
_BETWEEN: Final = "–—"  # with a space on both sides, usually
_MARKS: Final = rf".,!?;:…)\]،؛؟।॥{re.escape(_OPENING)}{_EITHER}{_BETWEEN}"
# What `\s` stands for, spelled out: twice as fast.
_SPACES: Final = r" \t-\r\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_ONE: Final = rf"[^{_SPACES}{_MARKS}{UNSPACED}]+|[^ ]"  # a run, or any other character
_WORD: Final = re.compile(_ONE)
_SPACED_WORD: Final = re.compile(f"( ?)({_ONE})")
_CLOSE: Final = re.compile(f"(?![{re.escape(_OPENING)}{_BETWEEN}])[{_MARKS}{UNSPACED}]")
_SENTENCE_ENDS: Final = frozenset(".!?…。！？؟।॥")


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


def is_mark(surface: str) -> bool:
    """Whether it has neither a letter nor a digit."""
    return not any(map(str.isalnum, surface))


def takes_space(surface: str, before: Word, *, first: bool) -> bool:
    """Whether a word has a space after the word `before`, which may be the text's first: a mark that closes has none,
    nor a character of a script without spaces, nor what follows a mark that opens."""
    return not (_CLOSE.fullmatch(surface) or _opens(before, first))


def _opens(word: Word, first: bool) -> bool:
    return word.surface in _OPENING or (word.surface in _EITHER and (word.spaced or first))


def capitalised(surface: str) -> str:
    """As at the start of a text: the first letter as a capital, if it has one of a single character."""
    first = surface[:1].upper()
    return first + surface[1:] if len(first) == 1 else surface
