"""How times and jobs are told to a person, in a few words; the same in terminals, notebooks and on the command line."""

from __future__ import annotations

from unembed.schemas import Job


def printable(text: str) -> str:
    """Without what could steer a terminal: decoded texts are a stranger's."""
    return "".join(char if char.isprintable() else "�" for char in text)


def duration(seconds: float) -> str:
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def why_it_waits(job: Job) -> str:
    """Why nothing of it runs, in a few words; nothing when something does."""
    waiting = job.waiting
    if waiting is None:
        return ""
    if waiting.workers == 0:
        last = waiting.last_worker
        return f"no worker runs: {printable(last)}" if last else "no worker has started yet"
    if failed := waiting.failed:
        where = f" on {failed.worker}" if failed.worker else ""
        tried = f"attempt {failed.attempt} of {failed.max_attempts} failed{where}: {printable(failed.error)}"
        return f"{tried}; next in {duration(failed.next_in)}" if failed.next_in else f"{tried}; the next one is due"
    if waiting.jobs_ahead:
        about = "" if waiting.seconds is None else f", about {duration(waiting.seconds)}"
        return f"{waiting.jobs_ahead} job{'s' if waiting.jobs_ahead > 1 else ''} ahead{about}"
    return f"waiting for a worker, batches queued: {job.batches.queued}"
