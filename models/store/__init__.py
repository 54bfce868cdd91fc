"""Every SQL statement there is. `Store` is the whole of it; each of its methods is one short transaction.

    jobs       create_job, add_batch, seal, cancel; job, jobs, batches, dead_batches
    attempts   mark_published, claim, heartbeat, finish, fail, release, cancel_running
    results    generations
    upkeep     sweep, worker_seen, worker_done, workers, stats, ping

They return the frozen values of `unembed.schemas` and `models.store.values`, and raise the errors of `unembed.errors`:
StoreUnavailableError whenever the database does not answer.
"""

from __future__ import annotations

from models.store.attempts import AttemptsPart
from models.store.jobs import JobsPart
from models.store.results import ResultsPart
from models.store.upkeep import UpkeepPart
from models.store.values import Beat, Claim, QueueStats, Swept, Worker

__all__ = ["Beat", "Claim", "QueueStats", "Store", "Swept", "Worker"]


class Store(JobsPart, AttemptsPart, ResultsPart, UpkeepPart):
    """The jobs, batches, rows and workers of one database."""
