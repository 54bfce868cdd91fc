"""JobWatch for a job: the server is asked to answer when there is news, and one that cannot is asked now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from unembed.calls import requests
from unembed.calls.arguments import seconds
from unembed.calls.steps import Flow, Pause, ask
from unembed.errors import JobFailedError, WaitTimeoutError
from unembed.schemas import Job, JobState

FIRST_PAUSE: Final = 0.1  # seconds between two looks at least; short jobs are not kept waiting
LAST_PAUSE: Final = 1.0
PAUSE_SHARE: Final = 0.1  # of the time waited so far: nobody waits much longer than the job takes
LONGEST_POLL: Final = 30.0  # seconds that one answer may take; proxies give up after 60
USUAL_POLL: Final = 5.0  # seconds


class JobWatch:
    """One wait for one job. `poll`: seconds after which `next_look` gives the job although nothing has changed.

    Without `listens` nobody wants to hear of it before it has ended."""

    def __init__(self, job_id: str, timeout: float | None, poll: float, *, listens: bool = True) -> None:
        self._job_id = job_id
        self._timeout = None if timeout is None else seconds("timeout", timeout)
        self._poll = min(seconds("poll", poll), LONGEST_POLL) if listens else LONGEST_POLL
        self._listens = listens
        self._began = time.monotonic()
        self._looked: float | None = None  # when
        self._job: Job | None = None
        self._tag: str | None = None

    def next_look(self) -> Flow[Job]:
        """The job as it is when there is something to tell of it, or when `poll` is over. Raises WaitTimeoutError."""
        if self._job is not None and self._looked is not None:
            pause = self._looked + self._pause() - time.monotonic()
            if pause > 0:
                self._require_time(self._job, pause)
                yield Pause(pause)
        self._looked = time.monotonic()
        left = self._left()
        is_first = self._job is None and self._listens  # whoever listens is told at once how it is now
        wait = 0 if is_first else int(min(self._poll, left))
        found = yield from ask(requests.look(self._job_id, wait, self._tag))
        self._tag = found.tag if self._listens else None
        self._job = found.job or self._job
        if self._job is None:  # a server that knows a tag which nobody has
            self._job = yield from ask(requests.job(self._job_id))
        if not self._job.state.is_ended and self._left() <= 0:
            self._require_time(self._job, 0.0)
        return self._job

    def _pause(self) -> float:
        """Seconds from one look to the next at least: a job that changes all the time is not looked at all the time."""
        waited = time.monotonic() - self._began
        return min(max(FIRST_PAUSE, PAUSE_SHARE * waited), LAST_PAUSE, max(self._poll, FIRST_PAUSE))

    def _left(self) -> float:
        return float("inf") if self._timeout is None else self._began + self._timeout - time.monotonic()

    def _require_time(self, job: Job, needed: float) -> None:
        if self._timeout is not None and self._left() <= needed:
            error = WaitTimeoutError(f"the job {job.id} is still {job.state} after {self._timeout:g} seconds")
            error.add_note(goes_on(job.id))
            raise error


def until_ended(
    job_id: str, timeout: float | None, poll: float, seen: Callable[[Job], object], *, listens: bool
) -> Flow[Job]:
    """The job as it has ended; `seen` is told of each look."""
    watch = JobWatch(job_id, timeout, poll, listens=listens)
    try:
        while True:
            job = yield from watch.next_look()
            seen(job)
            if job.state.is_ended:
                return job
    except BaseException as error:
        if not isinstance(error, (Exception, GeneratorExit)):  # Ctrl-C, or a task that is cancelled
            error.add_note(goes_on(job_id))
        raise


def goes_on(job_id: str) -> str:
    return f"The job goes on without you. To wait for it again: client.job({job_id!r}).wait()"


def require_success(job: Job) -> None:
    """Raises JobFailedError when it failed or was cancelled."""
    if job.state in (JobState.FAILED, JobState.CANCELLED):
        reason = f": {job.error}" if job.error else ""
        ended = "failed" if job.state is JobState.FAILED else "been cancelled"
        raise JobFailedError(f"the job {job.id} has {ended}{reason}")
