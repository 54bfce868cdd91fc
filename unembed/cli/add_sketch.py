"""`unembed add-sketch`: let a decoder estimate the embeddings of texts without an encoder."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli import training_options as given
from unembed.cli.console import out, say
from unembed.cli.encoder_options import CheckpointEncoder
from unembed.cli.extras import needs
from unembed.cli.spending import Yes
from unembed.threads import wait_without_spinning


def add_sketch(
    decoder: Annotated[str, typer.Argument(help="A decoder's name, or a checkpoint's folder.")],
    sets: given.Sets,
    encoder: CheckpointEncoder = None,
    yes: Yes = False,
    threads: given.Threads = 0,
) -> None:
    """Give an older checkpoint a sketch: it estimates the embeddings of texts from their words, without an encoder.

    `unembed train` does this by itself. The weights are not touched. How well it estimates is printed as JSON.
    """
    wait_without_spinning()
    with needs("decoder"):
        import torch

        from unembed.models.evaluation.text_sets import TextSet
        from unembed.models.training.add_sketch import add_sketch as add
    if threads:
        torch.set_num_threads(threads)
    made = add(decoder, list(map(TextSet.parse, sets)), say)
    say(f"{decoder} now has a sketch of {len(made.words):,} words and {len(made.pairs):,} pairs of words")
    out.print_json(made.fit.model_dump_json())
