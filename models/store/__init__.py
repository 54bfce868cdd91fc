"""Every SQL statement there is. `Store` is the whole of it; each of its methods is one short transaction.

    jobs       create_job, add_batch, seal, cancel, remove; head, job, jobs, batches, dead_batches
    attempts   mark_published, claim, heartbeat, finish, fail, release, cancel_running
    again      retry, resent
    sweeping   sweep, take_back, waiting, payloads_lost, spent, give_up_unsealed, outlived
    results    generations
    upkeep     worker_seen, worker_done, workers, stats, backlog, ping

They return the frozen values of `unembed.schemas` and `values.py`, and raise the errors of `unembed.errors`:
StoreUnavailableError whenever the database does not answer.
"""

from __future__ import annotations

from unembed.models.store.attempts import AttemptsPart
from unembed.models.store.jobs import JobsPart
from unembed.models.store.requeue import AgainPart
from unembed.models.store.results import ResultsPart
from unembed.models.store.sweeping import SweepingPart
from unembed.models.store.upkeep import UpkeepPart
from unembed.models.store.values import Backlog, Beat, Claim, JobHead, QueueStats, ResultsPage, Swept, Worker

__all__ = ["Backlog", "Beat", "Claim", "JobHead", "QueueStats", "ResultsPage", "Store", "Swept", "Worker"]


class Store(JobsPart, AttemptsPart, AgainPart, SweepingPart, ResultsPart, UpkeepPart):
    """The jobs, batches, rows and workers of one database."""
