"""What of a job has arrived: the same again, beside the others, and all of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, select

from unembed.errors import ConflictError
from unembed.models.store.sql import BATCHES, one

_NEAREST: Final = (
    select(BATCHES)
    .where(BATCHES.c.job_id == bindparam("job"), BATCHES.c.first_index < bindparam("end"))
    .order_by(BATCHES.c.first_index.desc())
    .limit(1)
)


def expect_equal(received: RowMapping, first_index: int, rows: int, sha256: str) -> None:
    """ConflictError for another batch than the one that was received at this ordinal."""
    for name, given in (("sha256", sha256), ("first_index", first_index), ("rows", rows)):
        if received[name] != given:
            raise ConflictError(
                f"batch {received['ordinal']} of job {received['job_id']} was received with {name} {received[name]}, "
                f"now it has {given}"
            )


def expect_free(connection: Connection, job_id: str, first_index: int, rows: int) -> None:
    """ConflictError for rows that are there already.

    Among batches that do not overlap, the last that starts before our end is the only one that can reach us.
    """
    nearest = one(connection, _NEAREST, {"job": job_id, "end": first_index + rows})
    if nearest and nearest["first_index"] + nearest["rows"] > first_index:
        raise ConflictError(
            f"rows {first_index} to {first_index + rows - 1} overlap batch {nearest['ordinal']} of job {job_id}, "
            f"which has rows {nearest['first_index']} to {nearest['first_index'] + nearest['rows'] - 1}"
        )


def expect_whole(connection: Connection, job_id: str, batches: int, rows: int) -> None:
    """ConflictError when these are not the numbers that arrived, or the rows have a gap."""
    columns = (BATCHES.c.ordinal, BATCHES.c.first_index, BATCHES.c.rows)
    statement = select(*columns).where(BATCHES.c.job_id == job_id).order_by(BATCHES.c.ordinal)
    arrived = [tuple(row) for row in connection.execute(statement)]
    ordinals = {ordinal for ordinal, _, _ in arrived}
    if missing := batches - sum(ordinal < batches for ordinal in ordinals):
        raise ConflictError(f"{missing} of {batches} batches did not arrive: {_listed(ordinals, batches, missing)}")
    got = sum(count for _, _, count in arrived)
    if (len(arrived), got) != (batches, rows):
        raise ConflictError(f"{len(arrived)} batches with {got} rows arrived, the seal says {batches} with {rows}")
    for ordinal, first, expected in _gaps(arrived):
        raise ConflictError(f"batch {ordinal} begins at row {first}, but those before it end before row {expected}")


def _gaps(arrived: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    expected = 0
    for ordinal, first, count in arrived:
        if first != expected:
            yield ordinal, first, expected
        expected += count


def _listed(ordinals: set[int], batches: int, missing: int, most: int = 10) -> str:
    """The first that are missing; there may be more than anybody could list."""
    first = islice((ordinal for ordinal in range(batches) if ordinal not in ordinals), most)
    shown = ", ".join(map(str, first))
    return shown if missing <= most else f"{shown} and {missing - most} more"
