"""`unembed submit`: send a corpus and go."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from pydantic import ValidationError

from unembed.boundary import describe
from unembed.cli import options as given
from unembed.cli.console import Exit, say, show_job
from unembed.cli.corpora import read_corpus, say_bad_rows
from unembed.cli.decode_flags import takes_decode_options
from unembed.cli.dry_run import dry_run as show_dry_run
from unembed.cli.outputs import paths_of
from unembed.cli.progress import display
from unembed.corpus import Corpus, open_reference
from unembed.corpus.names import job_name
from unembed.corpus.store_names import is_store, shown_source
from unembed.errors import InputError
from unembed.schemas import DEFAULT_BATCH_SIZE, DEFAULT_DECODER, DecodeOptions, Job, Priority, Webhook

IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        help="Submit again with the same key to continue an interrupted submit. Default: a new one, which is shown.",
        show_default=False,
    ),
]
ByReference = Annotated[
    bool,
    typer.Option(
        "--by-reference",
        help="Send no vectors: the workers read the file themselves, under a root that the server allows.",
        rich_help_panel=given.CORPUS_PANEL,
    ),
]
ResultsTo = Annotated[
    str | None,
    typer.Option(
        "--results-to",
        metavar="URI",
        help="A folder under a root that the server allows: the workers write the texts there, a file a batch.",
        show_default=False,
        rich_help_panel=given.WHERE_PANEL,
    ),
]
CarryWith = Annotated[
    list[str] | None,
    typer.Option(
        "--carry",
        metavar="COLUMNS",
        help="Columns of the corpus, or fields in them, that are kept with the job, beside its texts: title,url.",
        show_default=False,
        rich_help_panel=given.CORPUS_PANEL,
    ),
]
WebhookUrl = Annotated[
    str | None,
    typer.Option(
        "--webhook",
        metavar="URL",
        help="An https:// URL that is told when the job has ended, signed with UNEMBED_WEBHOOK_SECRET.",
        show_default=False,
        rich_help_panel=given.WHERE_PANEL,
    ),
]


@takes_decode_options
def submit(
    *,
    sources: given.Sources,
    column: given.Column = None,
    id_column: given.IdColumn = None,
    cells: given.Cells = None,
    input_format: given.InputFormat = None,
    query: given.Query = None,
    collection: given.Collection = None,
    embedder: given.Embedder = None,
    by_reference: ByReference = False,
    batch_size: given.BatchSize = DEFAULT_BATCH_SIZE,
    decoder: given.Decoder = DEFAULT_DECODER,
    seed: given.Seed = 0,
    options: DecodeOptions,
    name: given.Name = None,
    results_to: ResultsTo = None,
    priority: given.Priority = Priority.NORMAL,
    carry: CarryWith = None,
    webhook: WebhookUrl = None,
    label: given.Labels = [],  # noqa: B006 - typer copies it
    idempotency_key: IdempotencyKey = None,
    dry_run: given.DryRun = False,
    as_json: given.AsJson = False,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Send a corpus to a server, or say where it is, and print the id of its job."""
    if by_reference and input_format:
        raise InputError("--input-format does not go with --by-reference, where the suffix says what a file is")
    if by_reference and any(map(is_store, sources)):
        raise InputError(f"{shown_source(sources[0])} is a store, which is read here: leave out --by-reference")
    if by_reference and carry:
        raise InputError(
            "--carry does not go with --by-reference, where no row is read here: take columns along when the results "
            "are written (`unembed results --carry --from`)"
        )
    labels, told = given.labels_of(label), _webhook(webhook)
    corpus = (
        sources
        if by_reference
        else read_corpus(sources, column, id_column, cells, input_format, query, collection, embedder)
    )
    if dry_run:
        with given.connect(url, home) as client:
            show_dry_run(
                corpus if isinstance(corpus, Corpus) else open_reference(corpus, column, id_column),
                decoder=decoder,
                options=options,
                batch_size=batch_size,
                priority=priority,
                client=client,
                as_json=as_json,
            )
        return
    key = idempotency_key or uuid.uuid4().hex
    with _says_how_to_go_on(key) as created, given.connect(url, home) as client, display() as progress:
        job = client.submit(
            corpus,
            by_reference=by_reference,
            results_to=results_to,
            priority=priority,
            labels=labels,
            webhook=told,
            carry=_carried(carry, corpus),
            column=column if by_reference else None,
            id_column=id_column if by_reference else None,
            cells=cells if by_reference else None,
            embedder=embedder,
            decoder=decoder,
            batch_size=batch_size,
            seed=seed,
            options=options,
            name=name or job_name(sources),
            idempotency_key=key,
            progress=progress.show_sent,
            created=created,
        )
    if isinstance(corpus, Corpus):
        say_bad_rows(corpus)
    if as_json:
        show_job(job.job)
    else:
        typer.echo(job.id)
    say(f"{job.job.rows.total:,} rows {'named' if by_reference else 'sent'}; next: unembed wait {job.id}", "dim")
    say(f"its idempotency key, to submit it again under: {key}", "dim")


@contextmanager
def _says_how_to_go_on(key: str) -> Iterator[Callable[[Job], None]]:
    """What is begun and cannot be sent whole is gone on with under its key. The value is told of what is begun."""
    begun: list[Job] = []
    try:
        yield begun.append
    except (Exception, KeyboardInterrupt) as error:
        if begun:
            say(
                f"the job {begun[0].id} is only partly sent; to go on with it, run the same command with "
                f"--idempotency-key {key}",
                "yellow",
            )
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(Exit.INTERRUPTED) from error
        raise


def _carried(carry: list[str] | None, corpus: Corpus | list[str]) -> list[str] | None:
    return paths_of(corpus, carry) if carry and isinstance(corpus, Corpus) else None


def _webhook(url: str | None) -> Webhook | None:
    """Raises InputError when there is nothing to sign with."""
    if url is None:
        return None
    secret = os.environ.get("UNEMBED_WEBHOOK_SECRET")
    if not secret:
        raise InputError(
            "--webhook needs UNEMBED_WEBHOOK_SECRET, to sign with: whsec_ and 24 to 64 random bytes in base64, such as "
            'the output of `echo "whsec_$(openssl rand -base64 32)"`'
        )
    try:
        return Webhook.model_validate({"url": url, "secret": secret})
    except ValidationError as error:
        names = {"url": "--webhook", "secret": "UNEMBED_WEBHOOK_SECRET"}
        raise InputError(describe(error, name=lambda field: names[field], secret=("secret",))) from None
