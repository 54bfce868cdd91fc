"""`unembed ls`: the jobs of a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from unembed.boundary import did_you_mean
from unembed.cli import options as given
from unembed.cli.completion import complete_decoders, complete_labels
from unembed.cli.console import out, say
from unembed.cli.tables import job_list
from unembed.schemas import JobState

_MOST: Final = 500

State = Annotated[JobState | None, typer.Option("--state", help="Only jobs in this state.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, max=_MOST, help="Show at most this many.")]

Named = Annotated[str | None, typer.Option("--name", help="Only jobs with this in their name.", show_default=False)]
Of = Annotated[
    str | None,
    typer.Option("--decoder", help="Only jobs of this decoder.", show_default=False, autocompletion=complete_decoders),
]
Label = Annotated[
    list[str],
    typer.Option(
        "--label",
        metavar="NAME[=VALUE]",
        help="Only jobs with this label; can be given several times.",
        show_default=False,
        autocompletion=complete_labels,
    ),
]


def ls(
    state: State = None,
    name: Named = None,
    decoder: Of = None,
    label: Label = [],  # noqa: B006 - typer copies it
    limit: Limit = 50,
    as_json: given.AsJson = False,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """List the jobs, newest first."""
    with given.connect(url, home) as client:
        page = client.jobs(limit=limit, state=state, name=name, decoder=decoder, labels=label)
    if as_json:
        typer.echo(json.dumps([job.model_dump(mode="json") for job in page.jobs], indent=2))
    elif page.jobs:
        out.print(job_list(page.jobs))
    else:
        say("no jobs" + (_meant(url, home, name, decoder, label) if name or decoder or label else ""))
    if page.next_cursor:
        say(f"there are more jobs; --limit {limit} was reached", "dim")


def _meant(url: str | None, home: Path | None, name: str | None, decoder: str | None, labels: list[str]) -> str:
    """What was probably meant, of what the newest jobs have."""
    with given.connect(url, home) as client:
        jobs = client.jobs(limit=_MOST).jobs
    pairs = [pair for job in jobs for pair in job.labels.items()]
    has_labels = {f"{key}={value}" for key, value in pairs} | {key for key, _ in pairs}
    hints = [did_you_mean(name, {job.name for job in jobs if job.name})] if name else []
    hints += [did_you_mean(decoder, {job.decoder for job in jobs})] if decoder else []
    hints += [did_you_mean(label, has_labels) for label in labels if label not in has_labels]
    return "".join(hints)
