"""What one worker process has open: opened once, after the process was spawned, and handed to what it runs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from unembed.corpus import ReferenceReader
from unembed.models.database import create_engine
from unembed.models.parts import Parts
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.roots import Roots
from unembed.worker import runtime
from unembed.worker.celery import make_app, publish
from unembed.worker.feed import Feed, by_celery


@dataclass(frozen=True)
class Context:
    settings: Settings
    name: str  # of the worker, as Flower and the table `workers` know it
    pid: int  # of the worker's main process
    store: Store
    payloads: Payloads
    decoders: runtime.Decoders
    publish: Callable[[str], None]  # tells the workers that this batch waits
    references: ReferenceReader = field(default_factory=lambda: ReferenceReader(Roots()))
    parts: Parts = field(default_factory=lambda: Parts(()))
    feed: Feed = field(default_factory=Feed)  # what Flower is told
    stopping: threading.Event = field(default_factory=threading.Event)  # set: hand the running batch back
    # The device, precision and engine that were last told to the database.
    introduced_as: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def device(self) -> str | None:
        """Where this process decodes, once it has said so."""
        return self.introduced_as[0][0] if self.introduced_as else None

    def check_in(
        self,
        device: str | None = None,
        precision: str | None = None,
        engine: str | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        """Raises StoreUnavailableError."""
        where = socket.gethostname()
        self.store.workers.check_in(self.name, where, self.pid, device, precision, engine, memory_bytes)


def open_context(settings: Settings, name: str, pid: int) -> Context:
    """Nothing connects yet: each part does when it is first used."""
    app = make_app(settings)
    return Context(
        settings=settings,
        name=name,
        pid=pid,
        store=Store(create_engine(settings.database_url), settings),
        payloads=Payloads.at(settings.payload_redis_url, settings.payload_ttl),
        decoders=runtime.Decoders(lambda name: runtime.load_decoder(name, settings)),
        publish=lambda batch_id: publish(app, batch_id),
        references=ReferenceReader(Roots.of(settings.corpus_roots)),
        parts=Parts(settings.results_roots),
        feed=Feed(by_celery(app) if settings.events else None),
    )
