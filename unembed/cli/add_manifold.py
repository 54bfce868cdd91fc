"""`unembed add-manifold`: teach a decoder to tell embeddings of texts from other vectors."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli.console import out, say
from unembed.cli.encoder_options import CheckpointEncoder
from unembed.cli.extras import needs
from unembed.cli.spending import Yes


def add_manifold(
    decoder: Annotated[str, typer.Argument(help="A decoder's name, or a checkpoint's folder.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Embeddings: SOURCE[:COLUMN], or a file of texts, one a line; like those that the decoder was trained "
            "on.",
        ),
    ],
    encoder: CheckpointEncoder = None,
    yes: Yes = False,
) -> None:
    """Let an older checkpoint mark rows whose vector does not look like an embedding of a text.

    `unembed train` does this by itself. The weights are not touched. The limits found are printed as JSON.
    """
    with needs("decoder"):
        from unembed.models.training.add_manifold import add_manifold as add
    made = add(decoder, sources)
    say(f"{decoder} now marks such rows as off_manifold; the limits come from {made.limits.rows:,} embeddings")
    out.print_json(made.limits.model_dump_json())
