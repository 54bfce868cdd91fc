"""`unembed bank`: known phrases, kept with their embeddings, as a decoder that a job can name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unembed.cli.console import say
from unembed.cli.extras import needs
from unembed.cli.options import ENCODERS, Device
from unembed.errors import InputError


def bank(
    texts: Annotated[
        list[Path], typer.Argument(help="UTF-8 text files, one phrase a line.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write; its name becomes the decoder's name.")],
    embeddings: Annotated[
        Path | None,
        typer.Option(
            help="The embeddings of the phrases: .npy, one row a line. Without it, --encoder makes them.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option(help=f"The embedder of the phrases, and of the vectors to decode: {ENCODERS}.")
    ] = "all-MiniLM-L6-v2",
    threshold: Annotated[
        float, typer.Option(min=-1.0, max=1.0, help="Answer only if the nearest phrase has at least this cosine.")
    ] = 0.0,
    device: Device = "cpu",
) -> None:
    """Make a phrase bank: a decoder that answers with the nearest of these texts, word for word."""
    with needs("decoder"):
        import numpy as np

        from unembed.models.decoder.device import choose
        from unembed.models.decoder.encoder import Encoder
        from unembed.models.decoder.phrase_bank import Bank
        from unembed.models.evaluation.text_sets import read_texts
    lines = read_texts(texts)
    if not lines:
        raise InputError(f"{', '.join(map(str, texts))} has no lines; expected one phrase a line")
    if embeddings is None:
        model = Encoder(encoder, str(choose(device).torch_device))
        vectors = model.encode(lines, lambda done: say(f"{done:,} of {len(lines):,} phrases embedded"))
    else:
        vectors = np.load(embeddings, allow_pickle=False)
    made = Bank.of(lines, vectors, name=out.resolve().name, encoder=encoder, threshold=threshold)
    made.save(out)
    say(f"wrote the phrase bank {made.config.name!r} to {out}: {made.config.phrases:,} different phrases")
