"""`unembed rm`: an ended job goes, with its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.completion import complete_jobs
from unembed.cli.console import say
from unembed.cli.extras import needs
from unembed.cli.kept_jobs import run_of

JobIds = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB...",
        help="Ids or names of ended jobs, or ids of interrupted decodes.",
        show_default=False,
        autocompletion=complete_jobs,
    ),
]


def rm(job_ids: JobIds, as_json: given.AsJson = False, url: given.Url = None, home: given.Home = None) -> None:
    """Remove ended jobs for good, and what is kept of interrupted decodes. Cancel a running job first."""
    elsewhere = [job_id for job_id in job_ids if url or not _removed(job_id, home)]
    removed = [job_id for job_id in job_ids if job_id not in elsewhere]
    if elsewhere:
        with given.connect(url, home) as client:
            for job_id in [given.job_id_of(client, named) for named in elsewhere]:
                client.remove(job_id)
                removed.append(job_id)
                say(f"the job {job_id} is removed")
    if as_json:
        typer.echo(json.dumps([{"id": job_id} for job_id in removed], indent=2))


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
