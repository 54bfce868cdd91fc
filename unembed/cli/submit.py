"""`unembed submit`: send a corpus and go."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.console import say
from unembed.cli.progress import display
from unembed.corpus import open_corpus
from unembed.schemas import DEFAULT_BATCH_SIZE, DEFAULT_DECODER, DEFAULT_REPETITION_PENALTY

IdempotencyKey = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="The same key continues an interrupted submit.", show_default=False),
]


def submit(
    source: given.Source,
    column: given.Column = None,
    id_column: given.IdColumn = None,
    batch_size: given.BatchSize = DEFAULT_BATCH_SIZE,
    decoder: given.Decoder = DEFAULT_DECODER,
    seed: given.Seed = 0,
    candidates: given.Candidates = 1,
    rank_by: given.RankBy = "auto",
    rounds: given.Rounds = 1,
    beams: given.Beams = None,
    length_penalty: given.LengthPenalty = 1.0,
    temperature: given.Temperature = 0.0,
    top_k: given.TopK = 0,
    top_p: given.TopP = 1.0,
    min_p: given.MinP = 0.0,
    repetition_penalty: given.RepetitionPenalty = DEFAULT_REPETITION_PENALTY,
    no_repeat_ngram: given.NoRepeatNgram = 0,
    max_pieces: given.MaxPieces = None,
    round_trip: given.RoundTrip = False,
    name: given.Name = None,
    idempotency_key: IdempotencyKey = None,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Send a corpus to a server and print the id of its job."""
    options = given.decode_options(
        candidates=candidates,
        rank_by=rank_by,
        rounds=rounds,
        beams=beams,
        length_penalty=length_penalty,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        no_repeat_ngram=no_repeat_ngram,
        max_pieces=max_pieces,
        round_trip=round_trip,
    )
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
            progress=progress.sent,
        )
    typer.echo(job.id)
    say(f"{corpus.rows:,} rows sent; next: unembed wait {job.id}", "dim")
