"""What /metrics has, without a server: one of everything that it can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from unembed.api.metrics import Around, InStore, render
from unembed.api.traffic import Traffic
from unembed.models.payloads import Memory
from unembed.models.store import QueueStats, Totals, Worker
from unembed.models.store.totals import SweepAction
from unembed.models.store.values import Histogram, Total, WorkerTotal
from unembed.models.tables import HISTOGRAMS
from unembed.schemas import JobState, RowStatus


@dataclass(frozen=True)
class Family:
    name: str  # as it is queried, but for the ends of a histogram's series
    kind: str
    help: str
    labels: Sequence[str]


def exposition() -> str:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    worker = Worker("w", "h", 1, "cuda:0", "float16", "graph", 1, 2, now, now, now, None, 80, 40)
    stats = QueueStats(1, 1, 1, 2, 3.0, dict.fromkeys(JobState, 1), dict.fromkeys(RowStatus, 1))
    histograms = {name: Histogram(bounds, [1] * (len(bounds) + 1), 1.0) for name, bounds in HISTOGRAMS.items()}
    rows = dict.fromkeys(RowStatus, 1)
    totals = Totals(
        [Total("d", "done", "", 1, rows, 0, histograms)],
        [WorkerTotal("d", "w", "done", "", 1, 2, 0.5)],
        dict.fromkeys(SweepAction, 1),
    )
    found = InStore(stats, [worker], {"alive": 1}, totals)
    around = Around({"database": True}, {"queue": Memory(1, 2)}, 0.7)
    traffic = Traffic()
    traffic.count("GET", "/v1/jobs", 200, 0.01)
    return (render(around, found) + traffic.render()).decode()


def families() -> list[Family]:
    """Ours, in the order of the exposition."""
    found = []
    for family in text_string_to_metric_families(exposition()):
        if family.name.startswith("unembed_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = [label for label in family.samples[0].labels if label != "le"]
            found.append(Family(name, family.type, family.documentation, labels))
    return found


def series() -> set[str]:
    """The names of all series, ours and those of the process."""
    return {sample.name for family in text_string_to_metric_families(exposition()) for sample in family.samples}
