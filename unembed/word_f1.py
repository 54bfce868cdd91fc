"""Word F1: how many words two texts share, without case and punctuation, in any script.

A word is a run of letters, digits and what is written on them, with apostrophes inside. Scripts that put no spaces
between words, such as Chinese, Japanese and Thai, have no words to be seen: each of their characters counts as one.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

# Thai to Myanmar, Khmer, kana and the ideographs, with their compatibility forms. Not Hangul: Korean has spaces.
UNSPACED: Final = (
    r"\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
    r"\u2e80-\u312f\u3190-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
)
# What `\w` leaves out of words: accents, the vowels of Hebrew and Arabic, those of the scripts of India, joiners.
_ON_LETTERS: Final = (
    r"\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    r"\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0900-\u0963\u0971-\u0df3\u200c\u200d"
)
_RUN: Final = rf"(?:[^\W{UNSPACED}][{_ON_LETTERS}]*)+"
WORD: Final = re.compile(rf"{_RUN}(?:['’]{_RUN})*|(?=\w)[{UNSPACED}]")


def word_f1(text: str, reference: str) -> float:
    """F1 of the two bags of words, case-folded, punctuation aside; 1 when both are empty."""
    ours, theirs = Counter(WORD.findall(text.casefold())), Counter(WORD.findall(reference.casefold()))
    total = ours.total() + theirs.total()
    return 2.0 * (ours & theirs).total() / total if total else 1.0
