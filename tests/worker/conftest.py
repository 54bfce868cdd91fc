"""A worker's context on a real store and a real Redis, with a stub where the network would be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import redis

from tests.builders import DIM, make_job
from tests.worker.stubs import StubDecoder
from unembed.corpus import encode_payload
from unembed.models.payloads import Payloads
from unembed.models.settings import Settings
from unembed.models.store import Store
from unembed.schemas import Batch
from unembed.worker.celery import QUEUE
from unembed.worker.context import Context
from unembed.worker.runtime import Decoders


@pytest.fixture
def queue(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def decoder() -> StubDecoder:
    return StubDecoder()


@pytest.fixture
def published() -> list[str]:
    """The batches whose messages the worker sent."""
    return []


@pytest.fixture
def context(
    store: Store, settings: Settings, queue: redis.Redis, decoder: StubDecoder, published: list[str]
) -> Context:
    return Context(
        settings=settings,
        name="cpu0@here",
        pid=1,
        store=store,
        payloads=Payloads(queue, settings.payload_ttl),
        decoders=Decoders(lambda _: decoder),
        publish=published.append,
    )


@pytest.fixture
def queued(store: Store, context: Context) -> Callable[..., Batch]:
    """A sealed job with one batch of these embeddings, as the API would leave it; no message is sent."""

    def submit(embeddings: np.ndarray | None = None, ids: list[str] | None = None, name: str | None = None) -> Batch:
        if embeddings is None:
            embeddings = np.random.default_rng(0).normal(size=(10, DIM)).astype(np.float32)
        data = encode_payload(embeddings, ids)
        job = make_job(store, name=name)
        digest = hashlib.sha256(data).hexdigest()
        batch, _ = store.jobs.add_batch(job.id, 0, 0, len(embeddings), len(data), digest)
        context.payloads.put(batch.id, data)
        store.jobs.seal(job.id, 1, len(embeddings))
        return batch

    return submit


@pytest.fixture
def messages(queue: redis.Redis) -> Callable[[], int]:
    """How many messages wait in the queue."""
    return lambda: int(queue.llen(QUEUE))
