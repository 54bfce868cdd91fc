"""The database's clock, as SQL. Leases and back-offs are compared by this clock alone: the workers' may disagree."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, bindparam, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from unembed.models.tables import UtcDateTime


class _Now(FunctionElement[datetime]):
    type = UtcDateTime()
    inherit_cache = True


class _SecondsBetween(FunctionElement[float]):
    type = Float()
    inherit_cache = True


def now(offset_seconds: float | str = 0) -> ColumnElement[datetime]:
    """This moment, UTC, plus an offset in seconds, or in what the parameter of this name will be. It moves on within a
    transaction."""
    if isinstance(offset_seconds, str):
        return _Now(bindparam(offset_seconds, type_=Float()))
    return _Now(literal(float(offset_seconds), Float()))


class _WholeMinutesSince(FunctionElement[int]):
    type = Integer()
    inherit_cache = True


def seconds_between(earlier: ColumnElement[datetime], later: ColumnElement[datetime]) -> ColumnElement[float]:
    """From `earlier` to `later`, in seconds; NULL when either is."""
    return _SecondsBetween(earlier, later)


def whole_minutes_since(earlier: ColumnElement[datetime]) -> ColumnElement[int]:
    """How many minutes have passed until now, the last one not counted: 0 for what was just now."""
    return _WholeMinutesSince(earlier)


@compiles(_Now, "postgresql")
def _now_on_postgresql(element: _Now, compiler: SQLCompiler, **kw: Any) -> str:
    (offset,) = element.clauses
    return f"(clock_timestamp() + {compiler.process(offset, **kw)} * INTERVAL '1 second')"


@compiles(_Now, "sqlite")
def _now_on_sqlite(element: _Now, compiler: SQLCompiler, **kw: Any) -> str:
    # SQLite keeps times as text. SQLAlchemy writes and reads six decimals, %f gives three: without the zeros, a time
    # read back would be a thousandth of what was meant, and texts of unlike length would not compare as times do.
    (offset,) = element.clauses
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {compiler.process(offset, **kw)} || ' seconds') || '000')"


@compiles(_SecondsBetween, "postgresql")
def _seconds_on_postgresql(element: _SecondsBetween, compiler: SQLCompiler, **kw: Any) -> str:
    earlier, later = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM ({later} - {earlier})) AS DOUBLE PRECISION)"


@compiles(_SecondsBetween, "sqlite")
def _seconds_on_sqlite(element: _SecondsBetween, compiler: SQLCompiler, **kw: Any) -> str:
    earlier, later = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"((julianday({later}) - julianday({earlier})) * 86400.0)"


@compiles(_WholeMinutesSince, "postgresql")
def _minutes_on_postgresql(element: _WholeMinutesSince, compiler: SQLCompiler, **kw: Any) -> str:
    (earlier,) = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CAST(FLOOR(EXTRACT(EPOCH FROM (clock_timestamp() - {earlier})) / 60) AS INTEGER)"  # CAST alone would round


@compiles(_WholeMinutesSince, "sqlite")
def _minutes_on_sqlite(element: _WholeMinutesSince, compiler: SQLCompiler, **kw: Any) -> str:
    (earlier,) = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CAST((julianday('now') - julianday({earlier})) * 1440.0 AS INTEGER)"
