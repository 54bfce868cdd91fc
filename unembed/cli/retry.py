"""`unembed retry`: the dead batches of a job once more."""

from __future__ import annotations

from unembed.cli import options as given
from unembed.cli.console import say


def retry(job_id: given.JobId, url: given.Url = None, home: given.Home = None) -> None:
    """Try the dead batches of a job again; what is done stays as it is."""
    with given.connect(url, home) as client:
        job = client.retry(job_id)
    say(f"the job {job.id} is {job.state}: {job.batches.queued:,} of its batches wait; next: unembed wait {job.id}")
    if job.batches.dead:
        say(
            f"still dead: {job.batches.dead:,} of its batches, whose vectors the server has lost; submit the corpus "
            "again with the --idempotency-key that the job had",
            "yellow",
        )
