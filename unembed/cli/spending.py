"""Before texts are embedded for money: what it will cost, and whether that is meant."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from unembed.cli.console import Exit, say
from unembed.errors import InputError
from unembed.models.encoders.paid import Bill, attend

_PETTY: Final = 0.01  # dollars: said, but not asked about


def _take_yes(given: bool) -> bool:
    attend(_agree if given else _ask)
    return given


Yes = Annotated[
    bool,
    typer.Option(
        "--yes", "-y", help="Do not ask before embeddings that cost money are made.", callback=_take_yes, is_eager=True
    ),
]


def _agree(bill: Bill) -> None:
    say(str(bill))


def _ask(bill: Bill) -> None:
    """Raises InputError where there is nobody to ask, and ends the program where the answer is no."""
    say(str(bill))
    if bill.free or (bill.dollars is not None and bill.dollars < _PETTY):
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"embedding {bill.texts:,} texts costs money, and there is no terminal to ask on; expected --yes"
        )
    if not typer.confirm("Embed them?", err=True):
        raise typer.Exit(Exit.FAILED)
