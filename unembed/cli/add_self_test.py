"""`unembed add-self-test`: let a checkpoint prove at each load that it decodes as it did when it was made."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli.console import say
from unembed.cli.extras import needs


def add_self_test(
    decoder: Annotated[str, typer.Argument(help="A decoder's name, or a checkpoint's folder.")],
    corpus: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Embeddings, SOURCE[:COLUMN]; the first rows are used.")
    ],
) -> None:
    """Give an older checkpoint a self-test: a few embeddings, and what it decodes them to today.

    `unembed train` does this by itself.
    """
    with needs("decoder"):
        from unembed.models.training.add_self_test import add_self_test as add
    made = add(decoder, corpus)
    for row in made.expected.rows:
        say(f"{row.log_prob:.3f}  {row.text}")
