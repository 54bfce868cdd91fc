"""`unembed ls`: the jobs of a server."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.console import out, say
from unembed.cli.tables import job_list
from unembed.schemas import JobState

State = Annotated[JobState | None, typer.Option("--state", help="Only jobs in this state.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="Show at most this many.")]

Named = Annotated[str | None, typer.Option("--name", help="Only jobs with this in their name.", show_default=False)]
Of = Annotated[str | None, typer.Option("--decoder", help="Only jobs of this decoder.", show_default=False)]
Label = Annotated[
    list[str],
    typer.Option(
        "--label",
        metavar="NAME[=VALUE]",
        help="Only jobs with this label; can be given several times.",
        show_default=False,
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
        say("no jobs")
    if page.next_cursor:
        say(f"there are more jobs; --limit {limit} was reached", "dim")
