"""Options that several verbs take, and what they mean."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError

from unembed import schemas, tracing
from unembed.cli.common import WHERE_PANEL as WHERE_PANEL
from unembed.cli.common import api_key
from unembed.cli.completion import complete_decoders, complete_jobs, complete_labels, complete_words
from unembed.cli.console import say
from unembed.cli.decode_flags import PANEL
from unembed.cli.named_jobs import job_id_of as job_id_of
from unembed.client import Client
from unembed.corpus import Coding
from unembed.corpus.formats import SUFFIXES
from unembed.errors import InputError
from unembed.home import require_url

_SAY_AGAIN: Final = 60.0  # seconds
CORPUS_PANEL: Final = "The corpus"

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="IN",
        help="Embeddings: files, a folder, a quoted pattern, a URL or - for stdin; several are one corpus. Read are "
        "parquet, Arrow, JSON, CSV, npy and more, compressed or not. Or a store: postgresql://..., sqlite:FILE, "
        "duckdb:FILE, qdrant:..., chroma:..., lance:..., faiss:FILE.",
        show_default=False,
    ),
]
JobId = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="The id of a job, as `submit` printed it, or the name of one.",
        show_default=False,
        autocompletion=complete_jobs,
    ),
]

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="UNEMBED_URL",
        help="The server. Default: the running `unembed up`.",
        show_default=False,
        rich_help_panel=WHERE_PANEL,
    ),
]
Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="UNEMBED_HOME",
        help="The data folder of `unembed up`, or of a server started for this command.",
        readable=False,  # where it cannot be used, the verb says what follows
        show_default=False,
        rich_help_panel=WHERE_PANEL,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

Column = Annotated[
    str | None,
    typer.Option(
        "--column",
        help="The column of vectors, or a field in it: response.body.data.0.embedding. Default: it is looked for.",
        show_default=False,
        rich_help_panel=CORPUS_PANEL,
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        "--id-column",
        help="The column of ids, or a field in it; '' for none. Default: id, _id, custom_id, uuid... if there is one.",
        show_default=False,
        rich_help_panel=CORPUS_PANEL,
    ),
]
Query = Annotated[
    str | None,
    typer.Option(
        "--query",
        metavar="SQL",
        help="What is read of PostgreSQL, SQLite or DuckDB: 'select id, embedding from docs'.",
        show_default=False,
        rich_help_panel=CORPUS_PANEL,
    ),
]
Collection = Annotated[
    str | None,
    typer.Option(
        "--collection",
        metavar="NAME",
        help="What is read of Qdrant, Chroma or LanceDB. Default: the only one there.",
        show_default=False,
        rich_help_panel=CORPUS_PANEL,
    ),
]
InputFormat = Annotated[
    str | None,
    typer.Option(
        "--input-format",
        metavar="FORMAT",
        help=f"What the files are, where their contents and suffixes mislead: {', '.join(SUFFIXES)}.",
        show_default=False,
        autocompletion=complete_words(tuple(SUFFIXES)),
        rich_help_panel=CORPUS_PANEL,
    ),
]
Cells = Annotated[
    Coding | None,
    typer.Option(
        "--cells",
        help="What quantised numbers, or bytes, in the vectors mean. Default: floats, which are told by themselves.",
        show_default=False,
        rich_help_panel=CORPUS_PANEL,
    ),
]
Embedder = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="NAME",
        help="Whose vectors they are: text-embedding-3-small. Default: what the corpus says. Vectors of "
        "another embedder than the decoder reads are refused.",
        show_default=False,
        rich_help_panel=CORPUS_PANEL,
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Rows in a batch.", rich_help_panel=CORPUS_PANEL)]
Name = Annotated[
    str | None,
    typer.Option(
        "--name", help="A name for the job, to recognise it by.", show_default=False, rich_help_panel=WHERE_PANEL
    ),
]

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Read the corpus, and say how many rows and errors it has and how long it would take. Nothing is sent.",
        rich_help_panel=WHERE_PANEL,
    ),
]

Priority = Annotated[
    schemas.Priority,
    typer.Option(
        "--priority",
        help="The job's share while others wait too: high is eight times normal, low an eighth.",
        rich_help_panel=WHERE_PANEL,
    ),
]

Labels = Annotated[
    list[str],
    typer.Option(
        "--label",
        metavar="NAME=VALUE",
        help="A label, to find the job by; can be given several times.",
        show_default=False,
        autocompletion=complete_labels,
        rich_help_panel=WHERE_PANEL,
    ),
]

Decoder = Annotated[
    str,
    typer.Option(
        "--decoder",
        help="The decoder's name: `unembed decoders` lists them.",
        autocompletion=complete_decoders,
        rich_help_panel=PANEL,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same texts.", rich_help_panel=PANEL)]
Device = Annotated[
    str,
    typer.Option("--device", envvar="UNEMBED_DEVICE", help="What it computes on: auto, cpu, cuda, cuda:0 or mps."),
]
Precision = Annotated[
    schemas.Precision,
    typer.Option(
        "--precision",
        envvar="UNEMBED_PRECISION",
        help="The number format that the decoder computes in; auto is what the device computes fastest.",
        rich_help_panel=PANEL,
    ),
]

GpuMemory = Annotated[
    str | None,
    typer.Option(
        "--gpu-memory",
        help="What rows may take on a GPU, such as 200MB or 2GiB, in the workers that this starts. Default: "
        "UNEMBED_GPU_MEMORY, or 200MiB.",
        show_default=False,
        rich_help_panel=WHERE_PANEL,
    ),
]


LogFormat = Annotated[
    Literal["text", "json"] | None,
    typer.Option(
        "--log-format",
        help="How it logs, and what it starts: text, for reading, or json, an object a line. Default: "
        "UNEMBED_LOG_FORMAT, or text.",
        show_default=False,
    ),
]


def take_gpu_memory(size: str | None) -> None:
    """Hands --gpu-memory to the workers of this process and of those that it starts. Raises InputError."""
    if size is None:
        return
    try:
        TypeAdapter(ByteSize).validate_python(size)
    except ValidationError:
        raise InputError(f"--gpu-memory is {size!r}; expected bytes, or a size with a unit: 200MB, 2GiB") from None
    os.environ["UNEMBED_GPU_MEMORY"] = size


def labels_of(given: Sequence[str]) -> dict[str, str]:
    """Raises InputError for what has no name or no value."""
    for each in given:
        if not each.partition("=")[0] or "=" not in each:
            raise InputError(f"--label is {each!r}; expected NAME=VALUE")
    return {name: value for name, _, value in (each.partition("=") for each in given)}


def trace_until_exit() -> None:
    """What this process asks of servers is in traces, where the environment names a receiver of them."""
    tracing.set_up("unembed-cli")
    if tracing.is_on():
        atexit.register(tracing.flush)


def connect(url: str | None, home: Path | None) -> Client:
    """A client of the server that these options name, with the key; UnavailableError when they name none."""
    trace_until_exit()
    return Client(require_url(url, home), api_key(), busy=SayBusy())


class SayBusy:
    """Says once in a while why nothing seems to happen."""

    def __init__(self) -> None:
        self._last_said: float | None = None  # when, by the monotonic clock
        self._lock = threading.Lock()  # uploads are refused several at a time

    def __call__(self, why: str, pause: float) -> None:
        now = time.monotonic()
        with self._lock:
            due = self._last_said is None or now - self._last_said > _SAY_AGAIN
            self._last_said = now if due else self._last_said
        if due:
            say(f"the server has no room yet, trying again every {pause:.0f} s: {why}", "yellow")
