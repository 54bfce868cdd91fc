"""How one text came about, to be shown to a person: what else it might have been, and of which pieces it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unembed.models.decoder.candidates import Candidate
from unembed.models.decoder.engine import Generated
from unembed.models.decoder.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextPiece:
    """A step of the decoding."""

    text: str  # as it is written: ⇧ makes the next letter a capital; empty at the end
    probability: float  # given the vector and the pieces before


@dataclass(frozen=True)
class Explanation:
    candidates: tuple[Candidate, ...]  # the best first, which is the answer
    pieces: tuple[TextPiece, ...] = ()  # of the answer; empty where it was not put together of pieces


def pieces_of(generated: Generated, row: int, tokenizer: Tokenizer) -> tuple[TextPiece, ...]:
    """The pieces of a generated row, the end with them."""
    length = int(generated.lengths[row])
    ids, log_probs = generated.ids[row, :length].tolist(), generated.log_probs[row, :length].tolist()
    steps = zip(ids, log_probs, strict=True)
    return tuple(TextPiece(tokenizer.written(number), math.exp(log_prob)) for number, log_prob in steps)
