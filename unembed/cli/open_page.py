"""`unembed open`: the page of a job, in the browser."""

from __future__ import annotations

import json
import sys
import webbrowser
from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.completion import complete_jobs
from unembed.cli.console import say

MaybeJob = Annotated[
    str | None,
    typer.Argument(
        metavar="[JOB]",
        help="The id or the name of a job. Default: the page of all jobs.",
        show_default=False,
        autocompletion=complete_jobs,
    ),
]


def open_page(
    job: MaybeJob = None, as_json: given.AsJson = False, url: given.Url = None, home: given.Home = None
) -> None:
    """Open a job's page in the browser, and print its address. Where stdout is no terminal, it is printed only."""
    with given.connect(url, home) as client:
        page = f"{client.url}/" if job is None else f"{client.url}/jobs/{given.job_id_of(client, job)}"
    if as_json:
        typer.echo(json.dumps({"url": page}))
        return
    typer.echo(page)
    if sys.stdout.isatty() and not webbrowser.open(page):
        say("no browser could be started here; open the address yourself", "dim")
