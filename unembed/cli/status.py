"""`unembed status`: a job, once or until it ends."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.console import job_exit_code, out, show_job
from unembed.cli.follow import wait_for
from unembed.cli.kept_jobs import job_to_read, require_running
from unembed.cli.tables import job_details

Watch = Annotated[bool, typer.Option("--watch", help="Keep watching until the job ends, then exit as `wait` does.")]


def status(
    job_id: given.JobId,
    watch: Watch = False,
    as_json: given.AsJson = False,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Show how far a job has got."""
    if watch:
        with require_running(job_id, url, home) as client:
            handle = client.job(given.job_id_of(client, job_id))
            wait_for(handle)
            job = handle.job
    else:
        with job_to_read(job_id, url, home) as found:
            job = found.job
    if as_json:
        show_job(job)
    else:
        out.print(job_details(job))
    if watch:
        raise typer.Exit(job_exit_code(job))
