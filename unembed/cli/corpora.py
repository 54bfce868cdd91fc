"""From what a person names to a corpus, and what they should know of it: what was read, and rows without a vector."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from unembed.cli.console import err, say
from unembed.cli.progress import LINE_EVERY
from unembed.corpus import Coding, Corpus, open_corpus
from unembed.corpus.spool import Progress


def read_corpus(
    sources: Sequence[str],
    column: str | None = None,
    id_column: str | None = None,
    cells: Coding | None = None,
    input_format: str | None = None,
    query: str | None = None,
    collection: str | None = None,
    embedder: str | None = None,
) -> Corpus:
    """The corpus that IN... names; says what was read. Raises what `open_corpus` raises.

    `embedder` is whose vectors they are, whatever the corpus says.
    """
    with _fetching() as progress:
        corpus = open_corpus(
            sources,
            column,
            id_column,
            cells,
            input_format=input_format,
            query=query,
            collection=collection,
            progress=progress,
        )
    say(f"{corpus.what}: {corpus.rows:,} embeddings of {corpus.dim} dimensions, {corpus.dtype.name}")
    for note in corpus.notes:
        say(note, "dim")
    return replace(corpus, embedder=embedder or corpus.embedder)


def say_bad_rows(corpus: Corpus) -> None:
    """After it was sent, and so read."""
    if count := len(corpus.bad):
        said = "holds no vector and is an error row" if count == 1 else "hold no vector and are error rows"
        say(f"{count:,} of {corpus.rows:,} rows {said}: {corpus.bad}", "yellow")
    if count := corpus.bad.with_more:
        said = f"{count:,} row{' holds' if count == 1 else 's hold'} more vectors than the one that was read"
        say(f"{said}; to read all of them, put a star in --column in place of the number", "yellow")
    if count := corpus.bad.without_id:
        say(f"{count:,} of {corpus.rows:,} rows {'has' if count == 1 else 'have'} no id", "yellow")


@contextmanager
def _fetching() -> Iterator[Progress]:
    """Shows how far what comes once, or from afar, is: a bar, or a line every five seconds."""
    if not err.is_terminal:
        yield _Lines().show
        return
    columns = TextColumn("{task.description}", style="dim", markup=False), BarColumn(bar_width=32), DownloadColumn()
    with Bars(*columns, TransferSpeedColumn(), console=err, transient=True) as bars:
        tasks = dict[str, TaskID]()

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"reading {what}", total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


class _Lines:
    """Says at once when it waits for somebody to write."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def show(self, what: str, done: int, total: int | None) -> None:
        if done == 0:
            say(f"waiting for {what}", "dim")
        elif time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            say(f"reading {what}: {done / 1e6:,.0f} MB" + (f" of {total / 1e6:,.0f} MB" if total else ""))
