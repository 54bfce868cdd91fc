"""A job's course as shapes: where the time of a batch went, and who worked on which batch when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from unembed.api.pages.shell import count_of, duration
from unembed.schemas import Batch, BatchState, Job

WIDTH: Final = 1000.0  # of a picture, in its own units
MOST_LANES: Final = 24
_NARROWEST: Final = 2.0  # a batch of a moment is seen, too


@dataclass(frozen=True)
class Share:
    """What a part of the work took of a batch's time, on average."""

    name: str
    ms: float
    share: float  # of all parts together
    x: float
    width: float


def shares(job: Job) -> list[Share]:
    """Waiting, loading, decoding, scoring, writing; nothing before a batch is done."""
    done = job.batches.done
    times = job.timings
    named = [
        ("waiting", times.waited_ms),
        ("loading", times.load_ms),
        ("decoding", times.decode_ms),
        ("scoring", times.score_ms),
        ("writing", times.write_ms),
    ]
    whole = sum(ms for _, ms in named)
    if not done or whole <= 0:
        return []
    found, x = [], 0.0
    for name, ms in named:
        width = WIDTH * ms / whole
        found.append(Share(name, ms / done, ms / whole, round(x, 1), round(width, 1)))
        x += width
    return found


@dataclass(frozen=True)
class Stretch:
    """The last attempt at a batch, in its worker's lane."""

    x: float
    width: float
    kind: str  # done, running, failed or cancelled
    says: str


@dataclass(frozen=True)
class Lane:
    worker: str
    device: str | None
    batches: int
    failed: int
    stretches: list[Stretch]


@dataclass(frozen=True)
class Timeline:
    begin: datetime
    end: datetime
    lanes: list[Lane]
    more_lanes: int  # workers that are not shown
    batches: int  # those that were looked at


def timeline(batches: Sequence[Batch], now: datetime) -> Timeline | None:
    """None when no batch was claimed. A batch that runs has come as far as `now`."""
    claimed = [(batch, batch.claimed_at, _end(batch, now)) for batch in batches if batch.claimed_at is not None]
    if not claimed:
        return None
    begin, end = min(start for _, start, _ in claimed), max(end for _, _, end in claimed)
    scale = WIDTH / max((end - begin).total_seconds(), 1e-3)
    of_worker = defaultdict(list)
    for batch, start, until in claimed:
        x = (start - begin).total_seconds() * scale
        width = max(_NARROWEST, (until - start).total_seconds() * scale)
        kind = _kind(batch)
        says = (
            f"batch {batch.ordinal}, {count_of(batch.rows, 'row')}: {kind}, {duration((until - start).total_seconds())}"
        )
        of_worker[batch.worker or "?"].append(
            (batch, Stretch(round(min(x, WIDTH - 1), 1), round(width, 1), kind, says))
        )
    lanes = [
        Lane(
            worker,
            next((batch.device for batch, _ in some if batch.device), None),
            len(some),
            sum(stretch.kind == "failed" for _, stretch in some),
            [stretch for _, stretch in some],
        )
        for worker, some in sorted(of_worker.items())
    ]
    return Timeline(begin, end, lanes[:MOST_LANES], len(lanes[MOST_LANES:]), len(claimed))


def _end(batch: Batch, now: datetime) -> datetime:
    assert batch.claimed_at is not None
    ended = batch.queued_at if batch.state is BatchState.QUEUED else batch.finished_at
    return max(batch.claimed_at, ended or now)


def _kind(batch: Batch) -> str:
    if batch.state is BatchState.QUEUED:  # and yet it was claimed once
        return "failed" if batch.error_code else "handed back"
    return "failed" if batch.state is BatchState.DEAD else batch.state.value
