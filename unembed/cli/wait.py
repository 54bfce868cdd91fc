"""`unembed wait`: until a job has ended, well or not."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.console import err, job_exit_code, show_job
from unembed.cli.follow import wait_for
from unembed.cli.kept_jobs import require_running
from unembed.cli.tables import job_details

Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0, help="Give up after this many seconds, with exit code 5.", show_default=False),
]


def wait(
    job_id: given.JobId,
    timeout: Timeout = None,
    as_json: given.AsJson = False,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Wait until a job ends. Exit code 0: every row has a text; 3: some have; 1: it failed or was cancelled."""
    with require_running(job_id, url, home) as client:
        handle = client.job(given.job_id_of(client, job_id))
        wait_for(handle, timeout)
    if as_json:
        show_job(handle.job)
    else:
        err.print(job_details(handle.job))
    raise typer.Exit(job_exit_code(handle.job))
