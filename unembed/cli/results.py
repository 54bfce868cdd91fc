"""`unembed results`: the rows of a job, to a file, to a program or to a person."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from unembed.cli import options as given
from unembed.cli.console import out, say
from unembed.cli.tables import row_table
from unembed.results import check_output, write_results

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="OUT", help="A .parquet, .jsonl or .csv file.", show_default=False),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="Rows to show; without a file, 20.", show_default=False)
]


def results(
    job_id: given.JobId,
    output: Output = None,
    limit: Limit = None,
    as_json: given.AsJson = False,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Write a job's rows to a file, or show the first of them; also while the job runs."""
    if output:
        check_output(output)
    with given.connect(url, home) as client:
        handle = client.job(job_id)
        rows = islice(handle.results(order="index"), limit if output or as_json or limit else 20)
        if as_json:
            for row in rows:
                typer.echo(row.model_dump_json())
        elif output:
            say(f"{write_results(output, rows):,} rows written to {output}")
        else:
            out.print(row_table(rows))
    job = handle.job
    if not job.state.is_ended:
        say(f"the job is {job.state}: {job.rows.written:,} of {job.rows.total:,} rows are there so far", "yellow")
