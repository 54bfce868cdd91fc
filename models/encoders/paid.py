"""Embeddings that cost money: what they will cost, who says yes to it, and where they are kept. Free of torch.

A verb at which a person sits calls `attend`. From then on texts are paid for only after `approve`, and what was paid
for is kept under the home folder, so that nothing is paid twice. A worker has nobody to ask: what may run there, the
operator has allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

# Dollars for a million tokens, and when: as embeddingcost.com and tokenmix.ai quote the provider's list.
PRICES_OF: Final = "May 2026"
PRICES: Final[Mapping[str, float]] = {
    "text-embedding-3-small": 0.02,
    "text-embedding-3-large": 0.13,
    "text-embedding-ada-002": 0.10,
}
_ASCII_A_TOKEN: Final = 4.0  # characters, in English prose
_OTHERS_A_TOKEN: Final = 1.25  # in scripts that the tokenizers cut finer
_OTHERS: Final = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True)
class Bill:
    """What texts will cost that are about to be embedded."""

    encoder: str
    texts: int
    tokens: int  # estimated
    known: int  # texts besides that were embedded before, and cost nothing
    price: float | None  # dollars for a million tokens; None: unknown
    free: bool = False  # the server is this machine's own

    @property
    def dollars(self) -> float | None:
        return None if self.price is None else self.tokens * self.price / 1e6

    def __str__(self) -> str:
        said = f"{self.encoder}: {self.texts:,} texts, about {self.tokens:,} tokens"
        if self.dollars is not None:
            said += f", about ${self.dollars:,.{2 if self.dollars >= 1 else 4}f} at ${self.price:g} a million tokens"
            said += f" ({PRICES_OF}; see your provider's prices)"
        elif not self.free:
            said += ", at a price that Unembed does not know"
        return said + (f"; {self.known:,} more were embedded before and cost nothing" if self.known else "")


Approve = Callable[[Bill], None]  # raises an error when the answer is no
_approvers: Final[list[Approve]] = []


def attend(approve: Approve) -> None:
    """From now on, this process asks before it pays, and keeps what it has paid for."""
    _approvers[:] = [approve]


def is_attended() -> bool:
    return bool(_approvers)


def submit_bill(bill: Bill) -> None:
    """Raises what `approve` raises; nothing where nobody is at hand."""
    for approve in _approvers:
        if bill.texts:
            approve(bill)


def estimated_tokens(texts: Iterable[str]) -> int:
    """Within a fifth or so for prose, by the number of characters."""
    total = 0.0
    for text in texts:
        others = len(_OTHERS.findall(text))
        total += 1 + (len(text) - others) / _ASCII_A_TOKEN + others / _OTHERS_A_TOKEN
    return round(total)
