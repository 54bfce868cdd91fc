"""Options that several verbs take, and what they mean."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError

from unembed import schemas
from unembed.boundary import describe
from unembed.cli.console import say
from unembed.client import Client
from unembed.errors import InputError
from unembed.home import require_url
from unembed.schemas import DecodeOptions

_SAY_AGAIN: Final = 60.0  # seconds
ENCODERS: Final = "all-MiniLM-L6-v2 (384-d) or all-MiniLM-L6-v2-mean-max (768-d)"  # for help; free of torch
_CORPUS, _HOW, _WHERE = "The corpus", "How it is decoded", "Where it is decoded"

Source = Annotated[
    Path, typer.Argument(metavar="IN", help="Embeddings: .npy, .npz, .parquet, .arrow or .jsonl.", show_default=False)
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, as `submit` printed it.", show_default=False)]

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="UNEMBED_URL",
        help="The server; without it, the running `unembed up`.",
        show_default=False,
        rich_help_panel=_WHERE,
    ),
]
Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="UNEMBED_HOME",
        help="The folder of the embedded server.",
        show_default=False,
        rich_help_panel=_WHERE,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]

Column = Annotated[
    str | None,
    typer.Option(
        "--column",
        help="The column of vectors; without it, embedding, embeddings, emb, vector or values.",
        show_default=False,
        rich_help_panel=_CORPUS,
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        "--id-column",
        help="The column of ids; without it, `id` if there is one; '' for none.",
        show_default=False,
        rich_help_panel=_CORPUS,
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Rows a batch.", rich_help_panel=_CORPUS)]
Name = Annotated[
    str | None,
    typer.Option("--name", help="A name for the job, for people.", show_default=False, rich_help_panel=_WHERE),
]

Decoder = Annotated[str, typer.Option("--decoder", help="The decoder's name.", rich_help_panel=_HOW)]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same texts.", rich_help_panel=_HOW)]
Temperature = Annotated[
    float, typer.Option("--temperature", help="0 takes the likeliest piece; more samples.", rich_help_panel=_HOW)
]
TopK = Annotated[int, typer.Option("--top-k", help="Sample among the k likeliest; 0 is off.", rich_help_panel=_HOW)]
TopP = Annotated[float, typer.Option("--top-p", help="Sample among the likeliest p; 1 is off.", rich_help_panel=_HOW)]
MinP = Annotated[
    float,
    typer.Option("--min-p", help="Sample among pieces this near the likeliest; 0 is off.", rich_help_panel=_HOW),
]
RepetitionPenalty = Annotated[
    float,
    typer.Option("--repetition-penalty", help="Above 1, pieces used are less likely; 1 is off.", rich_help_panel=_HOW),
]
NoRepeatNgram = Annotated[
    int, typer.Option("--no-repeat-ngram", help="No run of n pieces twice; 0 is off.", rich_help_panel=_HOW)
]
LengthPenalty = Annotated[
    float,
    typer.Option("--length-penalty", help="Above 1, longer beams win; below 1, shorter ones.", rich_help_panel=_HOW),
]
Beams = Annotated[
    int | None,
    typer.Option(
        "--beams",
        help="Width of the beam search; 1 is off. Without it, as wide as the candidates need.",
        show_default=False,
        rich_help_panel=_HOW,
    ),
]
Candidates = Annotated[
    int,
    typer.Option("--candidates", help="Decode each row so often, and keep the best; slower.", rich_help_panel=_HOW),
]
RankBy = Annotated[
    str,
    typer.Option(
        "--rank-by",
        help="What the best candidate is: nearest by the encoder, likeliest by the decoder, auto.",
        rich_help_panel=_HOW,
    ),
]
Rounds = Annotated[
    int,
    typer.Option(
        "--rounds",
        help="Share the candidates among so many searches, each guided by what the best text lacks; needs the encoder.",
        rich_help_panel=_HOW,
    ),
]
Precision = Annotated[
    schemas.Precision,
    typer.Option(
        "--precision",
        envvar="UNEMBED_PRECISION",
        help="Of the decoder's arithmetic; auto is what the device computes fastest.",
        rich_help_panel=_HOW,
    ),
]
MaxPieces = Annotated[
    int | None,
    typer.Option("--max-pieces", help="The longest text, in pieces.", show_default=False, rich_help_panel=_HOW),
]
RoundTrip = Annotated[
    bool,
    typer.Option("--round-trip", help="Embed the texts again and report the cosine; slower.", rich_help_panel=_HOW),
]


def decode_options(**values: Any) -> DecodeOptions:
    """The options; InputError that names the one out of range, its value and the range."""
    try:
        return DecodeOptions(**values)
    except ValidationError as error:
        raise InputError(describe(error, name=lambda field: "--" + field.replace("_", "-"))) from None


def connect(url: str | None, home: Path | None) -> Client:
    """A client of the server that these options name; UnavailableError when they name none."""
    return Client(require_url(url, home), busy=SayBusy())


class SayBusy:
    """Says once in a while why nothing seems to happen."""

    def __init__(self) -> None:
        self._said: float | None = None
        self._lock = threading.Lock()  # uploads are refused several at a time

    def __call__(self, why: str, pause: float) -> None:
        now = time.monotonic()
        with self._lock:
            again = self._said is None or now - self._said > _SAY_AGAIN
            self._said = now if again else self._said
        if again:
            say(f"the server has no room yet, trying again every {pause:.0f} s: {why}", "yellow")
