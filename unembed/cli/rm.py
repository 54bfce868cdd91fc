"""`unembed rm`: an ended job goes, with its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.console import say
from unembed.cli.extras import needs
from unembed.cli.kept_jobs import run_of

JobIds = Annotated[
    list[str],
    typer.Argument(metavar="JOB...", help="Ids of ended jobs, or of interrupted decodes.", show_default=False),
]


def rm(job_ids: JobIds, url: given.Url = None, home: given.Home = None) -> None:
    """Remove ended jobs for good, and what is kept of interrupted decodes. Cancel a running job first."""
    elsewhere = [job_id for job_id in job_ids if url or not _removed(job_id, home)]
    if elsewhere:
        with given.connect(url, home) as client:
            for job_id in elsewhere:
                client.remove(job_id)
                say(f"the job {job_id} is removed")


def _removed(job_id: str, home: Path | None) -> bool:
    """Whether it was the job of a decode that began on a server of its own. Raises ConflictError while that runs."""
    kept = run_of(job_id, home)
    if kept is None or kept.note.url is not None:
        return False
    with needs("local"):
        from unembed.worker.home_lock import remove_home

    remove_home(kept.folder)
    say(f"what was kept of the decode of {kept.note.source}, job {job_id}, is removed")
    return True
