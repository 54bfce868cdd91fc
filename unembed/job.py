"""A job as its client sees it: look at it, wait for it, read its rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Self

import pyarrow as pa

from unembed.errors import CheckpointError, JobFailedError, NotFoundError, UnknownDecoderError
from unembed.generations import SCHEMA
from unembed.results.made_by import MadeBy
from unembed.schemas import Generation, Job, JobState, Order

if TYPE_CHECKING:
    from unembed.client import Client

FIRST_POLL: Final = 0.1  # seconds; short jobs are not kept waiting
LAST_POLL: Final = 1.0
POLL_SHARE: Final = 0.1  # of the time waited so far: nobody waits much longer than the job takes


class JobHandle:
    """A job on a server, as it was when last looked at."""

    def __init__(self, client: Client, job: Job) -> None:
        self._client = client
        self.job = job

    @property
    def id(self) -> str:
        return self.job.id

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} {self.job.state} {self.job.rows.done}/{self.job.rows.total}>"

    def refresh(self) -> Job:
        self.job = self._client.job(self.id).job
        return self.job

    def cancel(self) -> Job:
        self.job = self._client.cancel(self.id)
        return self.job

    def retry(self) -> Job:
        self.job = self._client.retry(self.id)
        return self.job

    def remove(self) -> None:
        self._client.remove(self.id)

    def wait(
        self,
        timeout: float | None = None,
        *,
        poll: float = LAST_POLL,
        progress: Callable[[Job], None] | None = None,
        check: bool = True,
    ) -> Self:
        """Returns when the job has ended. `poll` is the longest pause between two looks, in seconds.

        Raises TimeoutError after `timeout` seconds; with `check`, JobFailedError when the job failed or was cancelled.
        """
        began = time.monotonic()
        give_up = None if timeout is None else began + timeout
        while not self.refresh().state.is_ended:
            if progress:
                progress(self.job)
            pause = min(max(FIRST_POLL, POLL_SHARE * (time.monotonic() - began)), poll)
            if give_up is not None and time.monotonic() + pause > give_up:
                raise TimeoutError(f"the job {self.id} is still {self.job.state} after {timeout:g} seconds")
            time.sleep(pause)
        if progress:
            progress(self.job)
        if check and self.job.state in (JobState.FAILED, JobState.CANCELLED):
            raise JobFailedError(f"the job {self.id} has {_ended(self.job)}")
        return self

    def results(self, order: Order = "finished") -> Iterator[Generation]:
        """The rows written so far: in the order in which they were finished, or with "index" in the corpus's."""
        return self._client.results(self.id, order)

    def result_batches(self, order: Order = "finished") -> Iterator[pa.RecordBatch]:
        """The same rows as columns, a page at a time: what `write_results` takes."""
        return self._client.result_batches(self.id, order)

    def made_by(self) -> MadeBy:
        """What made its rows: the decoder, the options and the versions, as `write_results` keeps them."""
        try:
            checkpoint = self._client.decoder(self.job.decoder).checkpoint
        except (CheckpointError, NotFoundError, UnknownDecoderError):  # it was there when the job ran
            checkpoint = None
        return MadeBy.of(self.job, self._client.batches(self.id), checkpoint)

    def to_arrow(self) -> pa.Table:
        """The rows written so far as a table, in the corpus's order."""
        return pa.Table.from_batches(list(self.result_batches(order="index")), SCHEMA)


def _ended(job: Job) -> str:
    reason = f": {job.error}" if job.error else ""
    return ("failed" if job.state is JobState.FAILED else "been cancelled") + reason
