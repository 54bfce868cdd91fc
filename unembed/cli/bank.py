"""`unembed bank`: known phrases, kept with their embeddings, as a decoder that a job can name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unembed.cli.console import say
from unembed.cli.encoder_options import Encoder
from unembed.cli.extras import needs
from unembed.cli.options import Device
from unembed.cli.spending import Yes
from unembed.corpus.named import FORMS


def bank(
    sets: Annotated[
        list[str],
        typer.Argument(metavar="SET", help=f"The phrases: {FORMS}. Without embeddings, --encoder makes them."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write; its name becomes the decoder's name.")],
    encoder: Encoder = "all-MiniLM-L6-v2",
    threshold: Annotated[
        float, typer.Option(min=-1.0, max=1.0, help="Answer only if the nearest phrase has at least this cosine.")
    ] = 0.0,
    device: Device = "cpu",
    yes: Yes = False,
) -> None:
    """Make a phrase bank: a decoder that answers with the nearest of these texts, word for word."""
    with needs("decoder"):
        from unembed.models.decoder.phrase_bank import Bank
        from unembed.models.device import choose
        from unembed.models.evaluation.text_sets import Library, TextSet
    library = Library(encoder, None, say, str(choose(device).torch_device))
    lines, vectors = library.read_all(list(map(TextSet.parse, sets)))
    made = Bank.of(lines, vectors, name=out.resolve().name, encoder=encoder, threshold=threshold)
    made.save(out)
    say(f"wrote the phrase bank {made.config.name!r} to {out}: {made.config.phrases:,} different phrases")
