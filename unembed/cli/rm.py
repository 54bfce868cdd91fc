"""`unembed rm`: an ended job goes, with its rows."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.console import say

JobIds = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of ended jobs.", show_default=False)]


def rm(job_ids: JobIds, url: given.Url = None, home: given.Home = None) -> None:
    """Remove ended jobs and their rows for good. Cancel a running job first."""
    with given.connect(url, home) as client:
        for job_id in job_ids:
            client.remove(job_id)
            say(f"the job {job_id} is removed")
