"""What was ever done, by decoder and worker: running totals, which removing a job does not lower.

They are counted in the transaction that does it, one statement for a batch, so that they are exact whatever dies. Each
worker has rows of its own: none waits for another. What a sweep has done is counted beside them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Final, NamedTuple, cast

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection, RowMapping, Table, bindparam, case, delete, func, not_, select
from sqlalchemy.dialects import postgresql, sqlite

from unembed.codes import FailureCode
from unembed.models.clock import now
from unembed.models.store.sql import WORKERS, StorePart
from unembed.models.store.values import Histogram, Total, Totals, WorkerTotal
from unembed.models.store.workers import REMEMBERED
from unembed.models.tables import BUCKETS, COUNTED, HISTOGRAMS, SUMMED, TOTALS, SweepRow, buckets_of
from unembed.schemas import BatchState, RowStatus

_SWEEPS: Final = cast(Table, SweepRow.__table__)
_KEY: Final = ("decoder", "worker", "outcome", "code")
_NUMBERS: Final = (*COUNTED, *BUCKETS, *SUMMED)
_NOTHING: Final = dict.fromkeys(_NUMBERS, 0)


class Outcome(StrEnum):
    """What became of an attempt, or of a batch without one."""

    DONE = "done"
    RETRIED = "retried"  # it failed, and another attempt follows
    HANDED_BACK = "handed_back"  # its worker shut down, and another attempt follows
    DEAD = "dead"
    CANCELLED = "cancelled"
    # What takes rows out of the store again; no outcomes, and not told as such.
    REVIVED = "revived"  # a dead batch waits once more
    REMOVED = "removed"


OUTCOMES: Final = (Outcome.DONE, Outcome.RETRIED, Outcome.HANDED_BACK, Outcome.DEAD, Outcome.CANCELLED)
_STORED: Final = (Outcome.DONE, Outcome.DEAD)
_TAKEN_OUT: Final = (Outcome.REVIVED, Outcome.REMOVED)
_OF_STATE: Final = {
    BatchState.QUEUED: Outcome.RETRIED,
    BatchState.DEAD: Outcome.DEAD,
    BatchState.CANCELLED: Outcome.CANCELLED,
}


class SweepAction(StrEnum):
    """What a sweep does, each counted."""

    SWEEP = "sweep"
    MESSAGE_SENT = "message_sent"
    LEASE_EXPIRED = FailureCode.LEASE_EXPIRED.value
    PAYLOAD_LOST = "payload_lost"
    PAYLOAD_DELETED = "payload_deleted"
    JOB_ABANDONED = "job_abandoned"
    JOB_REMOVED = "job_removed"


class Key(NamedTuple):
    decoder: str
    worker: str
    outcome: Outcome
    code: str


def count(connection: Connection, key: Key, **numbers: float) -> None:
    """Adds these numbers, columns of `totals`."""
    connection.execute(_adding(connection.dialect.name), _NOTHING | key._asdict() | numbers)


def count_done(connection: Connection, decoder: str, batch: RowMapping, rows: pa.RecordBatch, **numbers: float) -> None:
    """A batch is done. `numbers`: its rows by status, and `decode_seconds`, `start_seconds` and `end_seconds`."""
    seconds = {name: max(0.0, numbers.pop(f"{name}_seconds")) for name in ("decode", "start", "end")}
    quality = rows.column("overall_quality").drop_null().to_numpy(zero_copy_only=False)
    spread = np.bincount(np.searchsorted(HISTOGRAMS["quality"], quality), minlength=len(buckets_of("quality")))
    count(
        connection,
        Key(decoder, batch["worker"] or "", Outcome.DONE, ""),
        batches=1,
        rows_off_manifold=cast(pa.BooleanArray, rows.column("off_manifold")).true_count,
        row_sum=seconds["decode"],
        start_sum=seconds["start"],
        end_sum=seconds["end"],
        quality_sum=float(quality.sum()),
        **numbers,
        **{
            _bucket("row", seconds["decode"] / batch["rows"]): batch["rows"],
            _bucket("start", seconds["start"]): 1,
            _bucket("end", seconds["end"]): 1,
        },
        **{column: int(number) for column, number in zip(buckets_of("quality"), spread, strict=True) if number},
    )


def _bucket(histogram: str, value: float) -> str:
    return buckets_of(histogram)[int(np.searchsorted(HISTOGRAMS[histogram], value))]


def count_ends(connection: Connection, decoder: str, batches: Iterable[RowMapping]) -> None:
    """Attempts at these batches of one job have ended without rows; the batches as they are now."""
    ended: defaultdict[Key, list[int]] = defaultdict(list)
    for batch in batches:
        outcome = _OF_STATE[BatchState(batch["state"])]
        code = "" if outcome is Outcome.CANCELLED else batch["error_code"] or ""
        ended[Key(decoder, batch["worker"] or "", outcome, code)].append(batch["rows_error"])
    for key in sorted(ended):  # in this order everywhere, so that no two wait for each other
        count(connection, key, batches=len(ended[key]), rows_error=sum(ended[key]))


def count_taken_out(connection: Connection, decoder: str, outcome: Outcome, batches: Iterable[RowMapping]) -> None:
    """The rows of these batches are no longer in the store, or no longer errors; the batches as they were."""
    found = list(batches)
    if found:
        rows = {name: sum(batch[name] for batch in found) for name in (f"rows_{status}" for status in RowStatus)}
        count(connection, Key(decoder, "", outcome, ""), batches=len(found), **rows)


@cache
def _adding(dialect: str) -> Any:
    """Both databases spell it alike. Built once: to build it takes longer than to execute it."""
    build = postgresql.insert if dialect == "postgresql" else sqlite.insert
    new = build(TOTALS).values({name: bindparam(name) for name in (*_KEY, *_NUMBERS)})
    sums = {name: TOTALS.c[name] + new.excluded[name] for name in _NUMBERS}
    return new.on_conflict_do_update(index_elements=list(_KEY), set_=sums)


@cache
def _adding_to_sweeps(dialect: str) -> Any:
    build = postgresql.insert if dialect == "postgresql" else sqlite.insert
    new = build(_SWEEPS).values(action=bindparam("action"), times=bindparam("times"))
    return new.on_conflict_do_update(index_elements=["action"], set_={"times": _SWEEPS.c.times + new.excluded.times})


def _sum(column: str) -> Any:
    return func.sum(TOTALS.c[column]).label(column)


_BY_OUTCOME: Final = select(TOTALS.c.decoder, TOTALS.c.outcome, TOTALS.c.code, *map(_sum, _NUMBERS)).group_by(
    TOTALS.c.decoder, TOTALS.c.outcome, TOTALS.c.code
)
_SHOWN: Final = WORKERS.c.last_seen > now(-REMEMBERED)
_ROWS: Final = (TOTALS.c.rows_ok + TOTALS.c.rows_fallback + TOTALS.c.rows_error).label("rows")
_OF_WORKERS: Final = (
    select(*(TOTALS.c[name] for name in (*_KEY, "batches")), _ROWS, TOTALS.c.row_sum.label("decode_seconds"))
    .join_from(TOTALS, WORKERS, TOTALS.c.worker == WORKERS.c.name)
    .where(_SHOWN)
    .order_by(*(TOTALS.c[name] for name in _KEY))
)
_SIGN: Final = case((TOTALS.c.outcome.in_(_STORED), 1), (TOTALS.c.outcome.in_(_TAKEN_OUT), -1), else_=0)
_NAMES_SHOWN: Final = select(WORKERS.c.name).where(_SHOWN)


class RunningTotals(StorePart):
    """What was ever done."""

    def all(self) -> Totals:
        """Everything. It reads a row for each worker, decoder and kind of end, whatever the number of batches."""
        with self._read() as connection:
            found = connection.execute(_BY_OUTCOME).mappings().all()
            workers = [WorkerTotal(**row) for row in connection.execute(_OF_WORKERS).mappings()]
            sweeps = {row.action: row.times for row in connection.execute(select(_SWEEPS))}
        outcomes = [_to_total(row) for row in found if row["outcome"] in OUTCOMES]
        return Totals(
            sorted(outcomes, key=lambda total: (total.decoder, total.outcome, total.code)),
            workers,
            {action: sweeps.get(action, 0) for action in SweepAction},
        )

    def stored_rows(self) -> dict[RowStatus, int]:
        """The rows that are in the store now, those of dead batches as errors."""
        with self._read() as connection:
            return stored_rows(connection)

    def count_sweep(self, actions: Mapping[SweepAction, int]) -> None:
        """A sweep was made, and has done this so many times."""
        with self._write() as connection:
            for action, times in sorted({**actions, SweepAction.SWEEP: 1}.items()):
                if times:
                    connection.execute(_adding_to_sweeps(connection.dialect.name), {"action": action, "times": times})

    def fold(self) -> None:
        """What long gone workers did goes on counting for their decoders, without a row for each of their names."""
        gone = (TOTALS.c.worker != "", not_(TOTALS.c.worker.in_(_NAMES_SHOWN)))
        with self._read() as connection:
            if connection.execute(select(TOTALS.c.worker).where(*gone).limit(1)).first() is None:
                return
        with self._write() as connection:
            folded: defaultdict[Key, dict[str, float]] = defaultdict(lambda: dict(_NOTHING))
            for row in connection.execute(delete(TOTALS).where(*gone).returning(TOTALS)).mappings():
                into = folded[Key(row["decoder"], "", Outcome(row["outcome"]), row["code"])]
                for name in _NUMBERS:
                    into[name] += row[name]
            for key in sorted(folded):
                count(connection, key, **folded[key])


def stored_rows(connection: Connection) -> dict[RowStatus, int]:
    """The same, in a transaction that goes on."""
    columns = (func.coalesce(func.sum(TOTALS.c[f"rows_{status}"] * _SIGN), 0) for status in RowStatus)
    found = connection.execute(select(*columns)).one()
    # Not below 0: workers of an earlier version count nothing of what they do.
    return {status: max(0, int(number)) for status, number in zip(RowStatus, found, strict=True)}


def _to_total(row: RowMapping) -> Total:
    return Total(
        decoder=row["decoder"],
        outcome=row["outcome"],
        code=row["code"],
        rows={status: int(row[f"rows_{status}"]) for status in RowStatus},
        **{name: int(row[name]) for name in ("batches", "rows_off_manifold")},
        histograms={
            name: Histogram(bounds, [int(row[column]) for column in buckets_of(name)], float(row[f"{name}_sum"]))
            for name, bounds in HISTOGRAMS.items()
        },
    )
