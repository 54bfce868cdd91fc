"""`unembed submit`: send a corpus and go."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.console import say
from unembed.cli.decode_flags import takes_decode_options
from unembed.cli.progress import display
from unembed.corpus import open_corpus
from unembed.schemas import DEFAULT_BATCH_SIZE, DEFAULT_DECODER, DecodeOptions

IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        help="Submit again with the same key to continue an interrupted submit.",
        show_default=False,
    ),
]


@takes_decode_options
def submit(
    *,
    source: given.Source,
    column: given.Column = None,
    id_column: given.IdColumn = None,
    batch_size: given.BatchSize = DEFAULT_BATCH_SIZE,
    decoder: given.Decoder = DEFAULT_DECODER,
    seed: given.Seed = 0,
    options: DecodeOptions,
    name: given.Name = None,
    idempotency_key: IdempotencyKey = None,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Send a corpus to a server and print the id of its job."""
    corpus = open_corpus(source, column, id_column)
    with given.connect(url, home) as client, display() as progress:
        job = client.submit(
            corpus,
            decoder=decoder,
            batch_size=batch_size,
            seed=seed,
            options=options,
            name=name or source.name,
            idempotency_key=idempotency_key,
            progress=progress.show_sent,
        )
    typer.echo(job.id)
    say(f"{corpus.rows:,} rows sent; next: unembed wait {job.id}", "dim")
