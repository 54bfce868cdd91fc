"""`unembed results`: the rows of a job, to a file, to a program or to a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import pyarrow as pa
import typer

from unembed.cli import options as given
from unembed.cli.console import out, say
from unembed.cli.kept_jobs import job_to_read
from unembed.cli.tables import row_table
from unembed.generations import json_lines, rows_of
from unembed.results import check_output, write_results

_SHOWN: Final = 20  # rows, when no number is given

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="OUT", help="A .parquet, .jsonl or .csv file.", show_default=False),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help=f"Write or show only this many rows. Default: all; {_SHOWN} when shown as a table.",
        show_default=False,
    ),
]


def results(
    job_id: given.JobId,
    output: Output = None,
    limit: Limit = None,
    as_json: given.AsJson = False,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Write a job's rows to a file, or show the first ones. Works while the job runs, and without a server, too."""
    if output:
        check_output(output)
    with job_to_read(job_id, url, home) as handle:
        batches = _first(handle.result_batches(order="index"), limit if output or as_json or limit else _SHOWN)
        if as_json:
            for batch in batches:
                typer.echo(json_lines(batch), nl=False)
        elif output:
            say(f"{write_results(output, batches):,} rows written to {output}")
        else:
            out.print(row_table(row for batch in batches for row in rows_of(batch)))
    job = handle.job
    if not job.state.is_ended:
        say(f"the job is {job.state}: {job.rows.written:,} of {job.rows.total:,} rows are finished so far", "yellow")


def _first(batches: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """As many of the rows; None: all."""
    for batch in batches:
        if limit is None:
            yield batch
            continue
        yield batch.slice(0, limit)
        limit -= batch.num_rows
        if limit <= 0:
            return
