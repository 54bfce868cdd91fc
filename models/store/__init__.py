"""Every SQL statement there is, behind one `Store`. Each method is one short transaction.

    store.jobs        create, add_batch, seal, cancel, remove; head, client_of, get, page, batch, batches, dead_batches
    store.attempts    claim, heartbeat, finish, fail, release, cancel_running; latest, of, state_of
    store.requeue     retry, after_resend
    store.sweeping    sweep, reclaim; queued, fail_missing_payloads, forget_payloads, done_or_cancelled;
                      cancel_unsealed, expired_jobs
    store.results     page, errors, version
    store.samples     by_quality, drawn, with_text
    store.figures     claimed, troubled, quality, errors, explained
    store.workers     check_in, ended, forget, all, has_claimed, is_deaf
    store.totals      all, stored_rows, count_sweep, fold
    store.queue       first_in_turn; mark_published, mark_unsent, stats, backlog
    store.waits       of, estimate, seconds_left, living, pace
    store.overview    open_jobs, ended_jobs, rows_by_minute, held, samples, pulse
    store.files       add, get, content, page, remove; note_job, of_job, jobs
    store.webhooks    of, take_due, delivered, failed
    store.keys        add, all, revoke, find, are_any

They return the frozen values of `unembed.schemas` and `values.py`, and raise the errors of `unembed.errors`:
StoreUnavailableError whenever the database does not answer.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.engine import Engine

from unembed.models.database import transaction
from unembed.models.settings import Settings
from unembed.models.store.attempts import Attempts
from unembed.models.store.carried import CarriedColumns
from unembed.models.store.figures import Figures
from unembed.models.store.files import Files
from unembed.models.store.jobs import Jobs
from unembed.models.store.keys import ApiKeys
from unembed.models.store.overview import Overview
from unembed.models.store.queue import Queue
from unembed.models.store.requeue import Requeue
from unembed.models.store.results import Results
from unembed.models.store.samples import Samples
from unembed.models.store.sweeping import Sweeping
from unembed.models.store.totals import RunningTotals
from unembed.models.store.values import (
    ApiKey,
    Attempt,
    Backlog,
    Beat,
    Claim,
    ClientLimits,
    DueWebhook,
    ErrorCount,
    FoundPage,
    HeldBatch,
    JobFile,
    JobFilter,
    JobHead,
    QueueStats,
    ResultsPage,
    Sample,
    Swept,
    Totals,
    UploadedFile,
    Worker,
)
from unembed.models.store.waiting import WhyWaiting
from unembed.models.store.webhooks import Webhooks
from unembed.models.store.workers import Workers

__all__ = [
    "ApiKey",
    "Attempt",
    "Backlog",
    "Beat",
    "Claim",
    "ClientLimits",
    "DueWebhook",
    "ErrorCount",
    "FoundPage",
    "HeldBatch",
    "JobFile",
    "JobFilter",
    "JobHead",
    "QueueStats",
    "ResultsPage",
    "Sample",
    "Store",
    "Swept",
    "Totals",
    "UploadedFile",
    "Worker",
]


class Store:
    """The jobs, batches, rows and workers of one database."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.jobs = Jobs(engine, settings)
        self.attempts = Attempts(engine, settings)
        self.requeue = Requeue(engine, settings)
        self.sweeping = Sweeping(engine, settings)
        self.results = Results(engine, settings)
        self.samples = Samples(engine, settings)
        self.carried = CarriedColumns(engine, settings)
        self.figures = Figures(engine, settings)
        self.workers = Workers(engine, settings)
        self.queue = Queue(engine, settings)
        self.waits = WhyWaiting(engine, settings)
        self.overview = Overview(engine, settings)
        self.keys = ApiKeys(engine, settings)
        self.files = Files(engine, settings)
        self.webhooks = Webhooks(engine, settings)
        self.totals = RunningTotals(engine, settings)

    def ping(self) -> None:
        """Raises StoreUnavailableError when the database cannot be reached."""
        with transaction(self.engine, read_only=True) as connection:
            connection.execute(text("SELECT 1"))
