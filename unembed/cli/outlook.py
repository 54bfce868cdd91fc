"""What to expect of a training, for a person, before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from unembed.cli.console import say
from unembed.words import duration

if TYPE_CHECKING:
    from unembed.models.training.expectation import Outlook

_MANY: Final = 20_000  # texts of which training makes as much as adapting does (docs/adapting.md)
_DAY: Final = 86_400  # seconds


def say_outlook(found: Outlook) -> None:
    for line in outlook_lines(found, datetime.now().astimezone()):
        say(line)


def outlook_lines(found: Outlook, now: datetime) -> Iterator[str]:
    """How good it will be, by what was measured; how long it takes, and when that is over."""
    from unembed.models.training.expectation import FEW_STEPS, expected_word_f1

    if not found.steps or found.seconds <= 0:
        return
    expected = f"a word F1 of about {expected_word_f1(found.texts):.1f}"
    if found.base:
        yield f"{found.texts:,} texts, from {found.base!r}: expect more than {expected}, which they give from nothing"
    else:
        yield f"{found.texts:,} texts, from nothing: expect {expected} if they are everyday sentences (an estimate)"
        if found.texts < _MANY:
            yield "with so few, `unembed adapt` does better, in a minute: it fits a decoder that ships to your embedder"
    if found.steps_in_time < FEW_STEPS and not found.base:
        yield (
            f"too few steps, {found.steps_in_time:,}: hardly more than the commonest words will come of them; expected "
            f"{FEW_STEPS:,} or more, so raise --epochs or lower --batch-pieces"
        )
    end = now + timedelta(seconds=found.seconds)
    when = f"{end:%H:%M}" if found.seconds < _DAY else f"{end:%H:%M on %Y-%m-%d}"
    speed = f"{found.pieces_per_second:,.0f} pieces/s"
    yield f"about {duration(max(1.0, found.seconds))} of training at {speed}, until about {when}"
