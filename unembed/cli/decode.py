"""`unembed decode`: from a file of vectors to a file of texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final, NamedTuple, Never

import typer
from rich.table import Table

from unembed.cli import options as given
from unembed.cli.console import Exit, err, job_exit_code, say
from unembed.cli.decode_flags import takes_decode_options
from unembed.cli.extras import needs
from unembed.cli.progress import display
from unembed.cli.tables import RowTally, summary
from unembed.client import Client
from unembed.corpus import Corpus, open_corpus
from unembed.home import home_folder, known_url
from unembed.job import JobHandle
from unembed.quick_imports import quick_imports
from unembed.results import check_output, write_results
from unembed.schemas import DEFAULT_BATCH_SIZE, DEFAULT_DECODER, DecodeOptions, Job

_SMALLEST_BATCH: Final = 64  # rows; below it a decoder is no faster a batch

Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="OUT", help="A .parquet, .jsonl or .csv file.", show_default=False),
]
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


@takes_decode_options
def decode(
    *,
    source: given.Source,
    output: Output,
    column: given.Column = None,
    id_column: given.IdColumn = None,
    batch_size: BatchSize = None,
    decoder: given.Decoder = DEFAULT_DECODER,
    seed: given.Seed = 0,
    options: DecodeOptions,
    name: given.Name = None,
    workers: Workers = None,
    gpu_memory: given.GpuMemory = None,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Decode a file of embeddings into a file of texts.

    Uses the server given by --url or UNEMBED_URL, or the running `unembed up`. If there is none, it starts one for this
    job and stops it afterwards.
    """
    check_output(output)
    given.take_gpu_memory(gpu_memory)
    corpus = open_corpus(source, column, id_column)
    say(f"{source}: {corpus.rows:,} embeddings of {corpus.dim} dimensions, {corpus.dtype.name}")
    decode_to_file(
        corpus,
        output,
        lambda done: _show(done, output),
        name=name or source.name,
        decoder=decoder,
        batch_size=batch_size,
        seed=seed,
        options=options,
        workers=workers,
        url=url,
        home=home,
    )


def _show(done: Done, output: Path) -> None:
    err.print()
    err.print(done.summary)
    err.print()
    if done.job.error:
        say(done.job.error, "red")
    say(f"{done.written:,} rows written to {output}")


def _usual_batch_size(rows: int) -> int:
    """A small corpus is cut in ten: there is progress to see, and work for every worker. Texts do not depend on it."""
    return min(DEFAULT_BATCH_SIZE, max(_SMALLEST_BATCH, -(-rows // 10)))


class Done(NamedTuple):
    """A job that has ended, and whose rows are written to a file."""

    job: Job
    written: int  # rows
    summary: Table


def decode_to_file(
    corpus: Corpus,
    output: Path,
    show: Callable[[Done], None],
    *,
    name: str,
    decoder: str = DEFAULT_DECODER,
    batch_size: int | None = None,
    seed: int = 0,
    options: DecodeOptions | None = None,
    workers: int | None = None,
    url: str | None = None,
    home: Path | None = None,
) -> Never:
    """Decodes a corpus in sight of a person, who may interrupt; says how to go on if they do. Ends the program.

    `show` is called as soon as the rows are in the file: a server of our own takes seconds to stop, and nobody has to
    wait for that to see what they came for.
    """
    with _server(url, home, workers) as server, Client(server.url, busy=given.SayBusy()) as client:
        started = time.monotonic()
        handle: JobHandle | None = None
        try:
            with display() as progress:

                def show_job(job: Job) -> None:
                    server.check()
                    progress.show_job(job)

                handle = client.submit(
                    corpus,
                    decoder=decoder,
                    batch_size=batch_size or _usual_batch_size(corpus.rows),
                    seed=seed,
                    options=options,
                    name=name,
                    progress=progress.show_sent,
                )
                handle.wait(progress=show_job, check=False)
        except KeyboardInterrupt as error:
            say(f"interrupted; {_how_to_resume(handle, server, output)}", "yellow")
            raise typer.Exit(Exit.INTERRUPTED) from error
        tally = RowTally()
        written = write_results(output, tally.of(handle.result_batches(order="index")))
        wall = time.monotonic() - started
        show(Done(handle.job, written, summary(handle.job, client.batches(handle.id), tally, wall)))
    raise typer.Exit(job_exit_code(handle.job))


class _Server(NamedTuple):
    url: str
    home: Path | None  # of a server of our own that outlives the command as files
    is_own: bool
    check: Callable[[], None]  # raises UnavailableError when no worker of our own can work


@contextmanager
def _server(url: str | None, home: Path | None, workers: int | None) -> Iterator[_Server]:
    """The server that is known, or one of our own until the block ends."""
    known = known_url(url, home)
    if known is not None:
        say(f"using the server at {known}", "dim")
        yield _Server(known, None, is_own=False, check=lambda: None)
        return
    with needs("local"), quick_imports():
        from unembed.worker.launch import Stack
    with ExitStack() as stack:
        folder = home_folder(home) if home else Path(stack.enter_context(_temporary_folder()))
        say(f"no server is running: starting one for this job in {folder}", "dim")
        running = stack.enter_context(Stack(folder, port=0, flower_port=None, workers=workers, say=say))
        if home is None:
            stack.callback(running.kill)  # nothing of it is kept, so no part has to end in order
        yield _Server(running.url, home, is_own=True, check=running.check)


def _temporary_folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="unembed-", ignore_cleanup_errors=True)


def _how_to_resume(handle: JobHandle | None, server: _Server, output: Path) -> str:
    if handle is None:
        return "the corpus was only partly sent, so its job is cancelled"
    read_on = f"unembed wait {handle.id} && unembed results {handle.id} -o {output}"
    if not server.is_own:
        return f"the job continues; to come back to it: {read_on}"
    if server.home:
        return f"the job is kept; to continue it: unembed up --home {server.home}"
    return "the server was started for this job only, so nothing is kept"
