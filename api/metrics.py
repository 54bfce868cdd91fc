"""Everything in numbers for Prometheus: of the queue, the workers and what was ever done, read from SQL at each scrape.

No scrape counts batches that have ended, or rows: what was done is in running totals (models/store/totals.py).
Each process of the API shows the same. Its own are `unembed_ready`, what it sees of Redis, and its requests
(traffic.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from unembed.models.payloads import Memory
from unembed.models.store import QueueStats, Store, Totals, Worker
from unembed.models.store.values import Histogram
from unembed.models.store.workers import REMEMBERED

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_HISTOGRAMS: Final = {
    "row": ("unembed_row_decode_seconds", "Decoding a row: of the rows of a batch, their mean"),
    "start": ("unembed_batch_wait_seconds", "From a batch's acceptance to the start of the attempt that finished it"),
    "end": ("unembed_batch_age_seconds", "From a batch's acceptance until it was done"),
    "quality": ("unembed_overall_quality", "overall_quality of the rows that have one, from 0 to 1"),
}


@dataclass(frozen=True)
class InStore:
    """What SQL knows."""

    stats: QueueStats
    workers: list[Worker]
    by_state: Mapping[str, int]  # of the workers
    totals: Totals

    @classmethod
    def of(cls, store: Store) -> InStore:
        """Raises StoreUnavailableError."""
        workers = store.workers
        return cls(store.queue.stats(), workers.seen_within(REMEMBERED), workers.by_state(), store.totals.all())


@dataclass(frozen=True)
class Around:
    """What this process sees of the parts that it needs."""

    ready: Mapping[str, bool]
    redis: Mapping[str, Memory]  # those that answer
    redis_use: float  # the share of its memory past which batches are refused


def render(around: Around, found: InStore | None) -> bytes:
    """The text of one scrape; without what SQL knows when it cannot be asked."""
    scrape = CollectorRegistry(auto_describe=False)
    scrape.register(_Snapshot(around, found))
    return generate_latest(scrape)


class _Snapshot(Collector):
    def __init__(self, around: Around, found: InStore | None) -> None:
        self._around = around
        self._found = found

    def collect(self) -> Iterator[Metric]:
        yield from _around(self._around)
        if self._found is not None:
            yield from _queue(self._found.stats)
            yield from _workers(self._found)
            yield from _done(self._found.totals)
            yield from _done_by_workers(self._found.totals)


def _around(around: Around) -> Iterator[Metric]:
    ready = ((name, float(is_ready)) for name, is_ready in around.ready.items())
    yield _gauge("unembed_ready", "Whether the API can use this part: 1, or 0", "check", ready)
    used = ((name, float(memory.used)) for name, memory in around.redis.items())
    yield _gauge("unembed_redis_memory_used_bytes", "What this Redis uses", "redis", used)
    limits = ((name, float(memory.limit)) for name, memory in around.redis.items())
    yield _gauge("unembed_redis_memory_limit_bytes", "Its maxmemory; 0: none", "redis", limits)
    yield GaugeMetricFamily(
        "unembed_redis_use_limit_ratio", "The share of it past which batches are refused", around.redis_use
    )


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


def _workers(found: InStore) -> Iterator[Metric]:
    yield _gauge("unembed_workers", "Workers seen in the last week, by state", "state", found.by_state.items())
    labels = ["worker", "device", "precision", "engine"]
    info = GaugeMetricFamily("unembed_worker_info", "A worker and what it runs on", labels=labels)
    for worker in found.workers:
        info.add_metric([worker.name, worker.device or "", worker.precision or "", worker.engine or ""], 1)
    yield info

    def gauge(name: str, help_: str, value: Callable[[Worker], float | None]) -> Metric:
        told = ((worker.name, value(worker)) for worker in found.workers)
        return _gauge(name, help_, "worker", ((name, number) for name, number in told if number is not None))

    yield gauge(
        "unembed_worker_last_seen_timestamp_seconds", "Its last heartbeat", lambda each: each.last_seen.timestamp()
    )
    yield gauge(
        "unembed_worker_last_done_timestamp_seconds",
        "Its last finished batch",
        lambda each: None if each.last_done is None else each.last_done.timestamp(),
    )
    yield gauge("unembed_worker_gpu_memory_bytes", "The memory of its GPU", lambda each: each.memory_bytes)
    yield gauge(
        "unembed_worker_gpu_memory_peak_bytes",
        "The most that tensors took there since it started",
        lambda each: each.peak_memory_bytes,
    )
    batches = (([worker.name], worker.batches_done) for worker in found.workers)
    yield _counter("unembed_worker_batches", "Batches it finished", ["worker"], batches)
    rows = (([worker.name], worker.rows_done) for worker in found.workers)
    yield _counter("unembed_worker_rows", "Rows it wrote", ["worker"], rows)


def _done(totals: Totals) -> Iterator[Metric]:
    ends = totals.ends
    yield _counter(
        "unembed_batch_outcomes",
        "Attempts at batches that have ended, and batches that ended without one",
        ["decoder", "outcome", "code"],
        (([end.decoder, end.outcome, end.code], end.batches) for end in ends),
    )
    rows: dict[tuple[str, str], int] = {}
    off: dict[str, int] = {}
    for end in ends:
        off[end.decoder] = off.get(end.decoder, 0) + end.rows_off_manifold
        for status, number in end.rows.items():
            rows[end.decoder, status] = rows.get((end.decoder, status), 0) + number
    yield _counter(
        "unembed_decoded_rows",
        "Rows of the batches that have ended; all rows of one that failed for good are errors",
        ["decoder", "status"],
        ((list(labels), number) for labels, number in rows.items()),
    )
    yield _counter(
        "unembed_off_manifold_rows",
        "Rows that do not look like vectors of the decoder's embedder",
        ["decoder"],
        (([decoder], number) for decoder, number in off.items()),
    )
    for histogram, (name, help_) in _HISTOGRAMS.items():
        family = HistogramMetricFamily(name, help_, labels=["decoder"])
        for end in ends:
            if end.outcome == "done":
                found = end.histograms[histogram]
                family.add_metric([end.decoder], _buckets(found), found.total)
        yield family
    actions = (([action], times) for action, times in totals.sweeps.items())
    yield _counter("unembed_sweeper_actions", "What the sweepers did", ["action"], actions)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(map(float, histogram.counts)), strict=True))


def _done_by_workers(totals: Totals) -> Iterator[Metric]:
    ends = totals.workers
    yield _counter(
        "unembed_worker_batch_outcomes",
        "Its attempts at batches that have ended",
        ["worker", "decoder", "outcome", "code"],
        (([end.worker, end.decoder, end.outcome, end.code], end.batches) for end in ends),
    )
    done = [end for end in ends if end.outcome == "done"]
    labels = ["worker", "decoder"]
    rows = (([end.worker, end.decoder], end.rows) for end in done)
    yield _counter("unembed_worker_decoded_rows", "Rows it decoded", labels, rows)
    seconds = (([end.worker, end.decoder], end.decode_seconds) for end in done)
    yield _counter("unembed_worker_decode_seconds", "How long it decoded", labels, seconds)


def _gauge(name: str, help_: str, label: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=[label])
    for value, number in values:
        family.add_metric([value], number)
    return family


def _counter(
    name: str, help_: str, labels: Sequence[str], values: Iterable[tuple[list[str], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_, labels=labels)
    for of_labels, number in values:
        family.add_metric(of_labels, number)
    return family
