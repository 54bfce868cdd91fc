"""The queue in numbers for Prometheus, read from SQL at each scrape: the API itself counts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from unembed.models.store import QueueStats, Worker
from unembed.models.store.queue import Queue
from unembed.models.store.workers import Workers

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


def render(queue: Queue, workers: Workers) -> bytes:
    """The text of one scrape. Raises StoreUnavailableError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(queue.stats(), workers.all()))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(self, stats: QueueStats, workers: list[Worker]) -> None:
        self.stats = stats
        self.workers = workers

    def collect(self) -> Iterator[Metric]:
        yield from _queue(self.stats)
        yield from _workers(self.workers)


def _queue(stats: QueueStats) -> Iterator[Metric]:
    counts = {"queued": stats.queued_batches, "running": stats.running_batches, "dead": stats.dead_batches}
    yield _gauge("unembed_batches", "Batches that are not done, by state", "state", counts.items())
    yield GaugeMetricFamily("unembed_queued_rows", "Rows of the queued batches", stats.queued_rows)
    yield GaugeMetricFamily(
        "unembed_oldest_queued_seconds",
        "How long the oldest queued batch has waited; 0 when none waits",
        stats.oldest_queued_seconds,
    )
    yield _gauge("unembed_jobs", "Jobs by state", "state", ((state.value, n) for state, n in stats.jobs.items()))
    rows = ((status.value, n) for status, n in stats.rows.items())
    yield _gauge("unembed_rows", "Rows in the store, by status", "status", rows)


def _workers(workers: list[Worker]) -> Iterator[Metric]:
    labels = ["worker", "device", "precision", "engine"]
    info = GaugeMetricFamily("unembed_worker_info", "A worker and what it runs on", labels=labels)
    for worker in workers:
        info.add_metric([worker.name, worker.device or "", worker.precision or "", worker.engine or ""], 1)
    yield info
    yield _gauge(
        "unembed_worker_last_seen_timestamp_seconds", "Its last heartbeat", "worker", _times(workers, "last_seen")
    )
    yield _gauge(
        "unembed_worker_last_done_timestamp_seconds", "Its last finished batch", "worker", _times(workers, "last_done")
    )
    batches = ((worker.name, worker.batches_done) for worker in workers)
    yield _counter("unembed_worker_batches", "Batches it finished", batches)
    yield _counter("unembed_worker_rows", "Rows it wrote", ((worker.name, worker.rows_done) for worker in workers))


def _times(workers: list[Worker], field: str) -> Iterator[tuple[str, float]]:
    for worker in workers:
        at: datetime | None = getattr(worker, field)
        if at is not None:
            yield worker.name, at.timestamp()


def _gauge(name: str, help_: str, label: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=[label])
    for value, number in values:
        family.add_metric([value], number)
    return family


def _counter(name: str, help_: str, values: Iterable[tuple[str, float]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_, labels=["worker"])
    for worker, number in values:
        family.add_metric([worker], number)
    return family
