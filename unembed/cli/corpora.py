"""What a person should know of their corpus: which column was taken for what, and which rows hold no vector."""

from __future__ import annotations

from unembed.cli.console import say
from unembed.corpus import Corpus


def say_notes(corpus: Corpus) -> None:
    """Before it is sent."""
    for note in corpus.notes:
        say(note, "dim")


def say_bad_rows(corpus: Corpus) -> None:
    """After it was sent, and so read."""
    if count := len(corpus.bad):
        said = "holds no vector and is an error row" if count == 1 else "hold no vector and are error rows"
        say(f"{count:,} of {corpus.rows:,} rows {said}: {corpus.bad}", "yellow")
    if count := corpus.bad.with_more:
        said = (
            "row holds more vectors than one, of which the first was read"
            if count == 1
            else "rows hold more vectors than one, of which the first was read"
        )
        say(f"{count:,} {said}", "yellow")
    if count := corpus.bad.without_id:
        say(f"{count:,} of {corpus.rows:,} rows {'has' if count == 1 else 'have'} no id", "yellow")
