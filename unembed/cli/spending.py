"""Before texts are embedded for money: what it will cost, and whether that is meant."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from unembed.cli.console import Exit, say
from unembed.errors import InputError
from unembed.models.encoders.paid import Bill, attend

_PETTY_DOLLARS: Final = 0.01
_PETTY_TOKENS: Final = 10_000  # where the price is not known
_SAID: Final = 1000  # texts: of fewer, only what is asked about is said


class Purse:
    """What may be spent without a question: a cent at first, and after a yes twice what was spent by then.

    So a corpus is asked about once, and the texts that are embedded again to judge a decoder are not.
    """

    def __init__(self, *, is_open: bool) -> None:
        self._is_open = is_open  # whether nothing is asked
        self._dollars, self._tokens = 0.0, 0  # spent, and to be spent; tokens are those of unknown price
        self._most_dollars, self._most_tokens = _PETTY_DOLLARS, _PETTY_TOKENS

    def __call__(self, bill: Bill) -> None:
        """Raises InputError where there is nobody to ask, and ends the program where the answer is no."""
        if bill.dollars is not None:
            self._dollars += bill.dollars
        elif not bill.free:
            self._tokens += bill.tokens
        is_asked = not self._is_open and (self._dollars > self._most_dollars or self._tokens > self._most_tokens)
        if is_asked or bill.texts >= _SAID:
            say(str(bill))
        if is_asked:
            _ask(bill)
            self._most_dollars = max(self._most_dollars, 2 * self._dollars)
            self._most_tokens = max(self._most_tokens, 2 * self._tokens)


def _ask(bill: Bill) -> None:
    if not sys.stdin.isatty():
        raise InputError(
            f"embedding {bill.texts:,} texts costs money, and there is no terminal to ask on; expected --yes"
        )
    if not typer.confirm("Embed them?", err=True):
        raise typer.Exit(Exit.FAILED)


def _take_yes(given: bool) -> bool:
    attend(Purse(is_open=given))
    return given


Yes = Annotated[
    bool,
    typer.Option(
        "--yes", "-y", help="Do not ask before embeddings that cost money are made.", callback=_take_yes, is_eager=True
    ),
]
