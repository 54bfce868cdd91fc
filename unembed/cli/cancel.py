"""`unembed cancel`: stop a job; what is done stays."""

from __future__ import annotations

from unembed.cli import options as given
from unembed.cli.console import say


def cancel(job_id: given.JobId, url: given.Url = None, home: given.Home = None) -> None:
    """Stop a job; finished rows stay."""
    with given.connect(url, home) as client:
        job = client.cancel(job_id)
    say(f"the job {job.id} is {job.state}; {job.rows.written:,} of {job.rows.total:,} rows are done and stay")
