"""256 pieces: text to ids and back.

Choices:
- Byte-pair merges over characters, within words: a piece holds its leading space and no piece crosses into the next
  word. Measured on held-out lines, merges across words and unigram pieces were no shorter (docs/lab.md).
- Case is folded: an upper-case letter is written as a shift mark and its lower-case form. With 256 pieces the table
  cannot afford "The" beside "the", and exact case still comes back.
- The alphabet is the commonest characters: a third of the pieces, or up to half where texts have so many, as those in
  Vietnamese do. Scripts of thousands of characters do not fit.
- A character outside the alphabet becomes the replacement character when read back; it is never dropped silently.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Final

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as HubTokenizer

VOCAB_SIZE = 256
PAD, END, UNKNOWN = 0, 1, 2
SPECIAL_PIECES = ("<pad>", "<end>", "<unk>")
SHIFT = "\u21e7"  # ⇧: the next letter is a capital
REPLACEMENT = "\ufffd"
WORD = r" ?[^ .,!?;:\"]+|[.,!?;:\"]+| "  # a word with the space before it, or a run of punctuation
WRITTEN: Final = 0.9999  # of all characters, by those that have a piece, where there is room for them

_MAYBE_CAPITAL = re.compile(r"[A-Z\x80-\U0010ffff]")  # few letters of most texts: the rest need no look


def fold_case(text: str) -> str:
    """Write each capital that has a one-character lower-case form as SHIFT + that form."""
    return _MAYBE_CAPITAL.sub(_folded, text)


def _folded(found: re.Match[str]) -> str:
    char = found[0]
    lower = char.lower()
    reversible = lower != char and len(lower) == 1 and lower.upper() == char
    return SHIFT + lower if reversible else char


def unfold_case(text: str) -> str:
    """The inverse of `fold_case`; a shift mark with nothing to lift is dropped."""
    if SHIFT not in text:
        return text
    first, *lifted = text.split(SHIFT)
    return first + "".join([part[:1].upper() + part[1:] for part in lifted])


def most_characters(vocab_size: int) -> int:
    """How many characters can have a piece of their own."""
    return vocab_size // 2


def _alphabet(texts: Iterable[str]) -> int:
    """How many of the commonest characters make up nearly all of the texts."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(fold_case(text))
    sums = list(accumulate(sorted(counts.values(), reverse=True)))
    return 1 + sum(so_far < WRITTEN * sums[-1] for so_far in sums)


class Tokenizer:
    """Text ↔ piece ids, saved as one tokenizer.json of the `tokenizers` library."""

    def __init__(self, inner: HubTokenizer) -> None:
        self._inner = inner

    @classmethod
    def train(cls, texts: Sequence[str], vocab_size: int = VOCAB_SIZE) -> Tokenizer:
        inner = HubTokenizer(models.BPE(unk_token=SPECIAL_PIECES[UNKNOWN]))
        inner.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")
        inner.decoder = decoders.Fuse()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL_PIECES),
            limit_alphabet=min(max(vocab_size // 3, _alphabet(texts)), most_characters(vocab_size)),
            show_progress=False,
        )
        inner.train_from_iterator((fold_case(text) for text in texts), trainer)
        return cls(inner)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        return cls(HubTokenizer.from_file(str(path)))

    def save(self, path: Path) -> None:
        self._inner.save(str(path))

    def same_as(self, other: Tokenizer) -> bool:
        """Whether both make the same pieces of every text."""
        return bool(self._inner.to_str() == other._inner.to_str())

    @property
    def vocab_size(self) -> int:
        return int(self._inner.get_vocab_size())

    @property
    def pieces(self) -> dict[str, int]:
        """Each piece and its id."""
        return dict(self._inner.get_vocab(with_added_tokens=True))

    def widened(self, vocab_size: int) -> Tokenizer:
        """The same with pieces that no text has, up to `vocab_size`: for networks that were not trained."""
        wide = HubTokenizer.from_str(self._inner.to_str())
        wide.add_tokens([f"<unused-{number}>" for number in range(self.vocab_size, vocab_size)])
        return Tokenizer(wide)

    def encode(self, text: str) -> list[int]:
        """The ids of one text, without an end mark."""
        return list(self._inner.encode(fold_case(text), add_special_tokens=False).ids)

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        folded = [fold_case(text) for text in texts]
        return [list(one.ids) for one in self._inner.encode_batch_fast(folded, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; what comes after the first end mark is not read."""
        read = ids[: ids.index(END)] if END in ids else ids
        return unfold_case("".join(map(self._readings.__getitem__, read)))

    def decode_many(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [self.decode(row) for row in rows]

    def written(self, number: int) -> str:
        """A piece as it is kept, with its shift marks; nothing for the end of a text."""
        return "" if number == END else self._readings[number]

    @cached_property
    def _readings(self) -> dict[int, str]:
        """What each id reads as; asking the library for each piece of each row would take longer than the rest."""
        found = {number: piece for piece, number in self.pieces.items()}
        return _Reading(found | {UNKNOWN: REPLACEMENT, PAD: ""})


class _Reading(dict[int, str]):
    def __missing__(self, _: int) -> str:
        return REPLACEMENT
