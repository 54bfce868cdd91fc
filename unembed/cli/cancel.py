"""`unembed cancel`: stop a job; what is done stays."""

from __future__ import annotations

from unembed.cli import options as given
from unembed.cli.console import say, show_job


def cancel(job_id: given.JobId, as_json: given.AsJson = False, url: given.Url = None, home: given.Home = None) -> None:
    """Stop a job; finished rows stay."""
    with given.connect(url, home) as client:
        job = client.cancel(given.job_id_of(client, job_id))
    if as_json:
        show_job(job)
    say(f"the job {job.id} is {job.state}; {job.rows.written:,} of {job.rows.total:,} rows are done and stay")
