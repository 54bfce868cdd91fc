"""Where results go and which columns go along: the options of `decode` and `results`, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from unembed.cli.completion import complete_words
from unembed.cli.console import say
from unembed.corpus import Corpus
from unembed.errors import InputError
from unembed.results import Destination, Layout, require_writable
from unembed.results.destination import FORMATS

PANEL: Final = "What comes out"

Output = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="A .parquet, .arrow, .jsonl, .csv or .tsv file, the last three also as .gz or .zst; a folder of parts, "
        "with a / at the end; or - for stdout.",
        show_default=False,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"What is written, where the name does not say it: {', '.join(FORMATS)}. Default: parquet in a folder, "
        "jsonl on stdout.",
        show_default=False,
        autocompletion=complete_words(FORMATS),
        rich_help_panel=PANEL,
    ),
]
Carry = Annotated[
    list[str] | None,
    typer.Option(
        "--carry",
        metavar="COLUMNS",
        help="Columns of the corpus, or fields in them, to take along: text,payload.url.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Append = Annotated[
    bool,
    typer.Option(
        "--append",
        help="Write a copy of the corpus, all its columns, with the text and its overall quality.",
        rich_help_panel=PANEL,
    ),
]


def layout_of(corpus: Corpus, carry: Sequence[str] | None, append: bool) -> Layout | None:
    """The columns that come out; says which of them got another name. None: those of the results alone."""
    if not carry and not append:
        return None
    if carry and append:
        raise InputError("--append takes all columns along, so it does not go with --carry")
    layout = Layout.appended(corpus) if append else Layout.beside(corpus, paths_of(corpus, carry or ()))
    if layout.note:
        say(layout.note, "dim")
    return layout


def check_room(to: Destination, layout: Layout | None, rows: int, row_bytes: int = 0) -> None:
    """Says so if there is too little room for so many rows. Raises InputError for columns that the format lacks."""
    if layout is not None:
        require_writable(to, layout)
    if warning := to.lack_of_room(rows, row_bytes):
        say(warning, "yellow")


def paths_of(corpus: Corpus, carry: Sequence[str]) -> list[str]:
    """Names between commas; a column that has a comma in its own is named alone."""
    columns = corpus.table.schema.names if corpus.table else []
    return [
        path for named in carry for path in ([named] if named in columns else map(str.strip, named.split(","))) if path
    ]
