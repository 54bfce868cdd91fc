"""`unembed results`: the rows of a job, to a file, to a program or to a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Annotated, Final

import pyarrow as pa
import typer

from unembed.cli import options as given
from unembed.cli import outputs
from unembed.cli.console import out, say
from unembed.cli.corpora import read_corpus
from unembed.cli.kept_jobs import job_to_read
from unembed.cli.tables import row_table
from unembed.corpus import Corpus
from unembed.errors import InputError
from unembed.generations import rows_of
from unembed.results import Destination, Layout, destination_of, write_results
from unembed.results.json_lines import write_json_lines
from unembed.schemas import Job

_SHOWN: Final = 20  # rows, when no number is given

From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="IN",
        help="The corpus that the job was decoded from, for --carry and --append; several, in their order.",
        show_default=False,
        rich_help_panel=outputs.PANEL,
    ),
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
    output: outputs.Output = "",
    format: outputs.Format = None,
    carry: outputs.Carry = None,
    append: outputs.Append = False,
    source: From = None,
    column: given.Column = None,
    id_column: given.IdColumn = None,
    cells: given.Cells = None,
    input_format: given.InputFormat = None,
    query: given.Query = None,
    collection: given.Collection = None,
    limit: Limit = None,
    as_json: given.AsJson = False,
    url: given.Url = None,
    home: given.Home = None,
) -> None:
    """Write a job's rows to a file, or show the first ones. Works while the job runs, and without a server, too."""
    to = destination_of(output, format) if output else None

    def read(named: list[str]) -> Corpus:
        return read_corpus(named, column, id_column, cells, input_format, query, collection)

    layout = _layout(source, read, to, carry or [], append)
    with job_to_read(job_id, url, home) as handle:
        batches = _first(handle.result_batches(order="index"), limit if to or as_json or limit else _SHOWN)
        if as_json:
            for batch in batches:
                typer.echo(_json_lines(batch), nl=False)
        elif to:
            outputs.check_room(to, layout, limit or handle.job.rows.total)
            _require_the_same(layout, handle.job)
            written = write_results(to, batches, made_by=handle.made_by(), layout=layout)
            say(f"{written:,} rows written to {to}")
        else:
            out.print(row_table(row for batch in batches for row in rows_of(batch)))
    job = handle.job
    if not job.state.is_ended:
        say(f"the job is {job.state}: {job.rows.written:,} of {job.rows.total:,} rows are finished so far", "yellow")


def _json_lines(rows: pa.RecordBatch) -> bytes:
    file = BytesIO()
    write_json_lines(file, rows.schema, iter([rows]))
    return file.getvalue()


def _layout(
    source: list[str] | None,
    read: Callable[[list[str]], Corpus],
    to: Destination | None,
    carry: list[str],
    append: bool,
) -> Layout | None:
    """The columns that come out of --from, --carry and --append. Raises InputError for one without the others."""
    if not carry and not append:
        if source:
            raise InputError("--from is the corpus that columns are taken from: name some with --carry, or --append")
        return None
    if not source:
        raise InputError("columns are taken from the corpus that the job was decoded from: name it with --from")
    if to is None:
        raise InputError("columns are taken along into a file: name it with -o")
    return outputs.layout_of(read(source), carry, append)


def _require_the_same(layout: Layout | None, job: Job) -> None:
    """Raises InputError when the corpus has not as many rows as the job."""
    if layout is not None and job.sealed_at is not None and layout.source.rows != job.rows.total:
        raise InputError(
            f"{layout.source.what} has {layout.source.rows:,} rows, but the job {job.id} has {job.rows.total:,}: it is "
            "not the corpus that they were decoded from"
        )


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
