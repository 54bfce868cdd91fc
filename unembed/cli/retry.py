"""`unembed retry`: the dead batches of a job once more."""

from __future__ import annotations

from unembed.cli import options as given
from unembed.cli.console import say, show_job


def retry(job_id: given.JobId, as_json: given.AsJson = False, url: given.Url = None, home: given.Home = None) -> None:
    """Try the failed batches of a job again; finished rows stay as they are."""
    with given.connect(url, home) as client:
        job = client.retry(given.job_id_of(client, job_id))
    if as_json:
        show_job(job)
    say(f"the job {job.id} is {job.state}, batches waiting: {job.batches.queued:,}; next: unembed wait {job.id}")
    if job.batches.dead:
        say(
            f"not tried again, because the server has lost their vectors: {job.batches.dead:,} of its batches; submit "
            f"the corpus again with --idempotency-key {job.idempotency_key}",
            "yellow",
        )
