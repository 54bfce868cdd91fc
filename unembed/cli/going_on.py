"""What is said of a decode that was interrupted: how far it has come, and how to go on with it."""

from __future__ import annotations

from datetime import datetime

from unembed.cli.foreground import Place
from unembed.results import Destination
from unembed.schemas import Job


def texts_of(job: Job) -> int:
    """The rows that have a text. Those of batches that only wait for their vectors count as errors."""
    return job.rows.ok + job.rows.fallback


def how_far(job: Job, rows: int) -> str:
    return f"{texts_of(job):,} of {rows:,} rows are decoded"


def how(place: Place | None, job: Job | None, rows: int, output: Destination, *, is_sent: bool) -> str:
    """How to go on. `job` is as it was last seen, `is_sent` whether all of the corpus was."""
    again = "run the same command again to go on"
    if place is None or job is None:
        return again
    elsewhere = f"unembed wait {job.id} && unembed results {job.id} -o {output}"
    if place.run is None:
        return "nothing is kept, as there is no home folder" if place.is_own else elsewhere
    if place.is_own:
        return f"{again}: {how_far(job, rows)}"
    if not is_sent:
        return f"{again}: the corpus is only partly sent"
    return f"the job continues; to come back to it, run the same command again, or: {elsewhere}"


def time_of(moment: datetime) -> str:
    """The time of day, with the date if that is another."""
    local = moment.astimezone()
    return f"{local:%H:%M}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"
