"""What a job's handle is in every kind of program: the job as it was last looked at, and how it looks."""

from __future__ import annotations

from collections.abc import Callable

from unembed.schemas import Job


class JobView:
    """A job on a server, as it was when last looked at."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    def id(self) -> str:
        return self.job.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.job.state} {self.job.rows.done}/{self.job.rows.total}>"

    def _repr_html_(self) -> str:
        return self.job._repr_html_()

    def _is_now(self, job: Job) -> Job:
        self.job = job
        return job

    def _seen(self, told: Callable[[Job], object] | None) -> Callable[[Job], None]:
        def seen(job: Job) -> None:
            self.job = job
            if told is not None:
                told(job)

        return seen
