"""What the routes need, built once an application."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import anyio
from celery import Celery
from fastapi import Depends, Request
from sqlalchemy import Engine

from unembed.api.admission import Room
from unembed.api.downloads import Downloads
from unembed.api.keyring import Keyring
from unembed.api.rates import Rates
from unembed.api.traffic import Traffic
from unembed.api.waiters import Waiters
from unembed.models.database import create_engine
from unembed.models.parts import Parts
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.worker.celery import make_app

UPLOADS_AT_ONCE = 4  # each holds its body about twice; more would not be faster, only larger


@dataclass(frozen=True)
class Deps:
    settings: Settings
    engine: Engine
    store: Store
    queue: Payloads
    payloads: Payloads
    parts: Parts
    celery: Celery
    uploads: anyio.CapacityLimiter
    waiters: Waiters
    downloads: Downloads
    room: Room
    rates: Rates
    keyring: Keyring
    traffic: Traffic
    leaving: threading.Event  # the server is about to end: nobody is to be kept waiting

    @classmethod
    def of(cls, settings: Settings) -> Deps:
        """Nothing connects yet: an API whose database or Redis is down starts, and says so in /readyz."""
        engine = create_engine(settings.database_url)
        store = Store(engine, settings)
        return cls(
            settings=settings,
            engine=engine,
            store=store,
            queue=Payloads.at(settings.redis_url, settings.payload_ttl),
            payloads=Payloads.at(settings.payload_redis_url, settings.payload_ttl),
            parts=Parts(settings.results_roots),
            celery=make_app(settings),
            uploads=anyio.CapacityLimiter(UPLOADS_AT_ONCE),
            waiters=Waiters(),
            downloads=Downloads(),
            room=Room(),
            rates=Rates(),
            keyring=Keyring(store.keys),
            traffic=Traffic(),
            leaving=threading.Event(),
        )

    def close(self) -> None:
        """Closes all that may be open, even if one of them objects."""
        with ExitStack() as exits:
            for part in (self.queue, self.payloads, self.celery, self.downloads):
                exits.callback(part.close)
            exits.callback(self.engine.dispose)


async def _of_request(request: Request) -> Deps:
    deps: Deps = request.app.state.deps
    return deps


Needs = Annotated[Deps, Depends(_of_request)]
