"""How jobs, their rows and their summaries look to a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table
from rich.text import Text

from unembed.cli.glance import Glance
from unembed.generations import counts_of
from unembed.schemas import Batch, Generation, Job, JobState, Priority, RowCounts, RowStatus
from unembed.words import duration, printable, why_it_waits

_STYLES: Final = {
    JobState.SUCCEEDED: "green",
    JobState.PARTIAL: "yellow",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "magenta",
    JobState.CANCELLING: "magenta",
    JobState.RUNNING: "cyan",
}
_PARTS: Final = ("load", "decode", "score", "write")
_BAR: Final = 24  # characters


@dataclass
class RowTally:
    """What is learnt of rows while they pass."""

    errors: Counter[str] = field(default_factory=Counter)  # rows by error code
    texts: int = 0
    quality: float = 0.0  # summed over the rows that have one
    scored: int = 0
    round_trip: float = 0.0  # summed over the rows that have one
    embedded: int = 0
    off_manifold: int = 0
    glance: Glance = field(default_factory=Glance, compare=False)

    def of(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, their rows counted as they pass."""
        for batch in batches:
            self._add(batch)
            yield batch

    def _add(self, batch: pa.RecordBatch) -> None:
        self.glance.add(batch)
        self.errors += counts_of(batch.column("error_code").drop_null())
        self.texts += batch.num_rows - counts_of(batch.column("status"))[RowStatus.ERROR]
        self.quality += _sum(batch, "overall_quality")
        self.scored += batch.num_rows - batch.column("overall_quality").null_count
        self.round_trip += _sum(batch, "round_trip")
        self.embedded += batch.num_rows - batch.column("round_trip").null_count
        self.off_manifold += int(_sum(batch, "off_manifold"))


def _sum(batch: pa.RecordBatch, name: str) -> float:
    return float(pc.sum(batch.column(name)).as_py() or 0.0)


def state_text(state: JobState) -> Text:
    return Text(state.value, style=_STYLES.get(state, ""))


def outcome(rows: RowCounts) -> str:
    parts = [f"{rows.ok:,} ok", f"{rows.fallback:,} fallback", f"{rows.error:,} error"]
    if rows.unwritten:
        parts.append(f"{rows.unwritten:,} in batches that run")
    if rows.done < rows.total:
        parts.append(f"{rows.total - rows.done:,} not decoded")
    return ", ".join(parts)


def seconds_of(job: Job) -> float:
    """From the first claim to the end, or to now."""
    if job.started_at is None:
        return 0.0
    return max(0.0, ((job.finished_at or datetime.now(UTC)) - job.started_at).total_seconds())


def rate_of(job: Job) -> str:
    seconds = seconds_of(job)
    return f"{job.rows.done / seconds:,.0f} rows/s" if seconds > 0 else "-"


def job_list(jobs: Iterable[Job]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading, justify in (("JOB", "left"), ("STATE", "left"), ("ROWS", "right"), ("ERRORS", "right")):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("DECODER", no_wrap=True)
    table.add_column("CREATED", no_wrap=True)
    table.add_column("NAME", no_wrap=True)
    for job in jobs:
        rows = f"{job.rows.done:,}/{job.rows.total:,}"
        created = f"{duration((datetime.now(UTC) - job.created_at).total_seconds())} ago"
        errors = f"{job.rows.error:,}"
        table.add_row(job.id, state_text(job.state), rows, errors, job.decoder, created, Text(job.name or ""))
    return table


def job_details(job: Job) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    batches = job.batches
    states = [f"{getattr(batches, name)} {name}" for name in type(batches).model_fields if getattr(batches, name)]
    table.add_row("job", job.id)
    if job.name:
        table.add_row("name", Text(job.name))
    table.add_row("state", state_text(job.state))
    table.add_row("decoder", f"{job.decoder}, {job.embedding_dim} dimensions, seed {job.seed}")
    if job.priority is not Priority.NORMAL:
        table.add_row("priority", job.priority.value)
    if job.labels:
        listed = ", ".join(f"{name}={value}" for name, value in job.labels.items())
        table.add_row("labels", Text(printable(listed)))
    table.add_row("rows", f"{job.rows.done:,} of {job.rows.total:,}: {outcome(job.rows)}")
    table.add_row("batches", ", ".join(states) or "none yet")
    if why := why_it_waits(job):
        table.add_row("waits", Text(why, style="yellow"))
    table.add_row("time", f"{duration(seconds_of(job))}, {rate_of(job)}")
    if job.idempotency_key:
        table.add_row("key", Text(job.idempotency_key))
    if job.error:
        table.add_row("error", Text(job.error, style="red"))
    return table


def row_table(rows: Iterable[Generation]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("INDEX", justify="right")
    table.add_column("ID", overflow="fold", max_width=24)
    table.add_column("STATUS")
    table.add_column("QUALITY", justify="right")
    table.add_column("TEXT", overflow="fold")
    for row in rows:
        quality = "" if row.overall_quality is None else f"{row.overall_quality:.2f}"
        error = row.status is RowStatus.ERROR
        text = Text(f"{row.error_code}: {row.error}", style="red") if error else Text(printable(row.text or ""))
        table.add_row(str(row.index), Text(printable(row.id or "")), _status(row), quality, text)
    return table


def _status(row: Generation) -> Text:
    status = Text(row.status.value)
    return status.append(", off manifold", style="yellow") if row.off_manifold else status


def summary(job: Job, batches: Iterable[Batch], tally: RowTally, wall: float) -> Table:
    """Rows and how they ended, seconds and rows a second, and where the workers' time went."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("rows", f"{job.rows.total:,}", outcome(job.rows))
    for code, count in tally.errors.most_common(5):
        table.add_row("", f"{count:,}", Text(code, style="red"))
    if tally.off_manifold:
        doubt = "vectors that do not look like embeddings of texts, such as noise; ignore their texts"
        if tally.off_manifold * 2 > job.rows.written:
            doubt = f"more than half: probably vectors of another embedder than {job.decoder} reads; ignore their texts"
        table.add_row("off manifold", f"{tally.off_manifold:,}", Text(doubt, style="yellow"))
    if tally.scored:
        mean = f"mean of {tally.scored:,} rows, from 0 to 1"
        table.add_row("quality", f"{tally.quality / tally.scored:.2f}", mean)
    elif job.options.scores == "none":
        table.add_row("quality", "-", "not scored: --scores none")
    if tally.embedded:
        table.add_row("round trip", f"{tally.round_trip / tally.embedded:.2f}", "mean cosine with the given embedding")
    took, where = duration(seconds_of(job)), _devices(batches)
    if seconds_of(job) < wall:
        spent = f"in all, of which {took} decoding on {where}"
    else:  # it was begun earlier
        spent = f"for this part of it; {took} since the job's first batch, on {where}"
    table.add_row("seconds", f"{wall:,.1f}", spent)
    table.add_row("rows/s", f"{job.rows.written / max(seconds_of(job), 1e-9):,.0f}", "while decoding")
    _add_parts(table, job, max(1, job.batches.done))
    return table


def _add_parts(table: Table, job: Job, done: int) -> None:
    spent = {part: getattr(job.timings, f"{part}_ms") / 1000 for part in _PARTS}
    total = sum(spent.values()) or 1.0
    waited = job.timings.waited_ms / 1000 / done
    table.add_row("waited", duration(waited), "a batch, on average, before a worker took it")
    for part, seconds in spent.items():
        share = seconds / total
        bar = Text("━" * round(share * _BAR), style="cyan").append(f" {share:.0%}", style="dim")
        table.add_row(part, duration(seconds), bar)


def _devices(batches: Iterable[Batch]) -> str:
    return ", ".join(sorted({_device(one) for one in batches if one.device})) or "no device"


def _device(batch: Batch) -> str:
    precision = f" in {batch.precision}" if batch.precision else ""
    engine = f" with the {batch.engine} engine" if batch.engine else ""
    return f"{batch.device}{precision}{engine}"
