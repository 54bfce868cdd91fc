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


def ls(
    state: State = None,
    limit: Limit = 50,
    as_json: given.AsJson = False,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """List the jobs, newest first."""
    with given.connect(url, home) as client:
        page = client.jobs(limit=limit, state=state)
    if as_json:
        typer.echo(json.dumps([job.model_dump(mode="json") for job in page.jobs], indent=2))
    elif page.jobs:
        out.print(job_list(page.jobs))
    else:
        say("no jobs")
    if page.next_cursor:
        say(f"there are more jobs; --limit {limit} was reached", "dim")
