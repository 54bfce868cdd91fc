"""`unembed decode`: from a file of vectors to a file of texts."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli import outputs
from unembed.cli.console import err, say, show_job
from unembed.cli.corpora import read_corpus
from unembed.cli.decode_flags import takes_decode_options
from unembed.cli.decode_to_file import Done, decode_to_file, usual_batch_size
from unembed.cli.dry_run import dry_run as show_dry_run
from unembed.cli.foreground import server_for
from unembed.corpus.names import job_name
from unembed.errors import InputError
from unembed.results import Destination, destination_of
from unembed.results.destination import STDOUT
from unembed.schemas import DEFAULT_BATCH_SIZE, DEFAULT_DECODER, DecodeOptions, Priority

BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        help=f"Rows in a batch. Default: {DEFAULT_BATCH_SIZE}, or fewer for a small corpus.",
        show_default=False,
        rich_help_panel=given.CORPUS_PANEL,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Worker processes, if no server is running. Default: one for each GPU, or one on the CPU.",
        show_default=False,
        rich_help_panel=given.WHERE_PANEL,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Begin anew, where an interrupted decode of the same corpus would go on.",
        rich_help_panel=given.WHERE_PANEL,
    ),
]


@takes_decode_options
def decode(
    *,
    sources: given.Sources,
    output: outputs.Output,
    format: outputs.Format = None,
    carry: outputs.Carry = None,
    append: outputs.Append = False,
    column: given.Column = None,
    id_column: given.IdColumn = None,
    cells: given.Cells = None,
    input_format: given.InputFormat = None,
    query: given.Query = None,
    collection: given.Collection = None,
    embedder: given.Embedder = None,
    batch_size: BatchSize = None,
    decoder: given.Decoder = DEFAULT_DECODER,
    seed: given.Seed = 0,
    options: DecodeOptions,
    name: given.Name = None,
    workers: Workers = None,
    fresh: Fresh = False,
    priority: given.Priority = Priority.NORMAL,
    dry_run: given.DryRun = False,
    gpu_memory: given.GpuMemory = None,
    as_json: given.AsJson = False,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Decode embeddings into a file of texts.

    Uses the server given by --url or UNEMBED_URL, or the running `unembed up`. If there is none, it starts one for this
    job and stops it afterwards. If it is interrupted, the same command goes on where it was.
    """
    to = destination_of(output, format)
    if as_json and to.name == STDOUT and not dry_run:
        raise InputError("--json prints the job, and -o - the texts, both on stdout; name a file with -o")
    given.take_gpu_memory(gpu_memory)
    corpus = read_corpus(sources, column, id_column, cells, input_format, query, collection, embedder)
    layout = outputs.layout_of(corpus, carry, append)
    outputs.check_room(to, layout, corpus.rows, corpus.dim * corpus.dtype.itemsize if append else 0)
    if dry_run:
        server = server_for(url, home)
        with ExitStack() as exits:
            show_dry_run(
                corpus,
                decoder=decoder,
                options=options,
                batch_size=batch_size or usual_batch_size(corpus.rows),
                priority=priority,
                client=exits.enter_context(given.connect(server, home)) if server else None,
                as_json=as_json,
            )
        return
    decode_to_file(
        corpus,
        to,
        lambda done: _show(done, to, as_json=as_json),
        layout=layout,
        name=name or job_name(sources),
        decoder=decoder,
        batch_size=batch_size,
        seed=seed,
        options=options,
        workers=workers,
        fresh=fresh,
        priority=priority,
        url=url,
        home=home,
    )


def _show(done: Done, to: Destination, *, as_json: bool) -> None:
    err.print()
    for part in done.glance.shown():
        err.print(part)
        err.print()
    err.print(done.summary)
    err.print()
    if done.job.error:
        say(done.job.error, "red")
    say(f"{done.written:,} rows written to {to}")
    if as_json:
        show_job(done.job)
