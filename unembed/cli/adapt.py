"""`unembed adapt`: a decoder for another embedder, from a few thousand texts and their embeddings, in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unembed.cli import training_options as given
from unembed.cli.console import say
from unembed.cli.extras import needs
from unembed.models.training.recipe import Check
from unembed.threads import wait_without_spinning
from unembed.words import duration


def adapt(
    sets: given.Sets,
    out: Annotated[Path, typer.Option("-o", "--out", help="The checkpoint's folder; its name is the decoder's name.")],
    encoder: given.TextEncoder = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Adapt this decoder, by name or folder, instead of the base that was trained to be adapted.",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.5, help="The share of the texts to keep for scores and calibration.")
    ] = 0.1,
    texts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXTS", help="More texts like those, without embeddings: a file, or a column of one. Repeatable."
        ),
    ] = None,
    minutes: Annotated[
        float,
        typer.Option(min=0.0, help="Train the mapped network for about so many minutes of a core; 0: not at all."),
    ] = 1.0,
    licence: Annotated[str, typer.Option(help="The licence of the texts, for the model card.")] = "not stated",
    seed: given.Seed = 0,
    threads: given.Threads = 0,
    yes: given.Yes = False,
    check: given.Checking = Check.FIRST,
) -> None:
    """Adapt a decoder that ships to another embedder, from some texts and their embeddings."""
    wait_without_spinning()
    with needs("train"):
        import torch

        from unembed.models.evaluation.text_sets import TextSet
        from unembed.models.training.adapt.run import Adaptation, look
        from unembed.models.training.adapt.run import adapt as adapt_decoder
    if threads:
        torch.set_num_threads(threads)
    plan = Adaptation(
        folder=out,
        sets=tuple(map(TextSet.parse, sets)),
        encoder=encoder,
        base=base,
        held_out=held_out,
        texts=tuple(map(TextSet.parse, texts or [])),
        minutes=minutes,
        licence=licence,
        seed=seed,
        check=check,
    )
    if check is Check.ONLY:
        look(plan, say)
        return
    made = adapt_decoder(plan, say)
    name, f1 = out.resolve().name, made.proof.word_f1
    say(f"wrote the decoder {name!r} to {out} in {duration(max(1.0, made.seconds))}; its card is {out / 'README.md'}")
    say(f"word F1 {f1.value:.3f} ({f1.low:.3f} to {f1.high:.3f}) on {made.held_out:,} held-out texts")
