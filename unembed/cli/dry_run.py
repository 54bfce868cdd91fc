"""`--dry-run`: what a corpus has, and how long it would take. Nothing is sent, and nothing is queued."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from rich.table import Table

from unembed.cli.console import out
from unembed.cli.corpora import say_bad_rows
from unembed.cli.foreground import entry_for
from unembed.client import Client
from unembed.codes import FailureCode
from unembed.corpus import Corpus, ReferencedCorpus
from unembed.estimates import Estimate
from unembed.schemas import DecodeOptions, Priority
from unembed.words import duration

_ROWS_AT_ONCE: Final = 8192


@dataclass
class Scan:
    """What was found by reading a corpus once."""

    rows: int = 0
    bytes: int = 0  # of its vectors, as they would be sent
    errors: Counter[str] = field(default_factory=Counter)  # rows that could not be decoded, by their error code


def scan(corpus: Corpus) -> Scan:
    """Reads the whole corpus; the errors are those that a worker would find in its vectors."""
    found = Scan()
    for part in corpus.batches(_ROWS_AT_ONCE):
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, as it does at the worker
            vectors = part.embeddings.astype(np.float32, copy=False)
        there = np.ones(len(vectors), dtype=bool)  # (n,)
        there[list(part.faults)] = False
        finite = np.isfinite(vectors).all(axis=1)
        bad = {
            FailureCode.NO_VECTOR: ~there,
            FailureCode.NOT_FINITE: there & ~finite,
            FailureCode.ZERO_VECTOR: there & finite & ~vectors.any(axis=1),
        }
        found.rows += len(vectors)
        found.bytes += part.embeddings.nbytes
        found.errors += Counter({str(code): int(which.sum()) for code, which in bad.items()})
    return found


def dry_run(
    corpus: Corpus | ReferencedCorpus,
    *,
    decoder: str,
    options: DecodeOptions,
    batch_size: int,
    priority: Priority,
    client: Client | None,
    as_json: bool,
) -> None:
    """`client` of the server that would decode it; None: one would be started for it. Raises what either would say of a
    job that it refuses."""
    estimate = None
    if client is None:
        entry_for(decoder, corpus.dim, options)
    else:
        estimate = client.estimate(
            corpus.rows, corpus.dim, decoder=decoder, options=options, batch_size=batch_size, priority=priority
        )
    found = scan(corpus) if isinstance(corpus, Corpus) else None
    if isinstance(corpus, Corpus):
        say_bad_rows(corpus)
    if as_json:
        print(json.dumps(_as_json(corpus, found, batch_size, estimate), indent=2))
    else:
        out.print(_table(corpus, found, batch_size, estimate))
        out.print("nothing was sent", style="dim")


def _as_json(
    corpus: Corpus | ReferencedCorpus, found: Scan | None, batch_size: int, estimate: Estimate | None
) -> dict[str, object]:
    """`errors` and `bytes` are null of a corpus by reference, whose rows are not read; `estimate` without a server."""
    return {
        "rows": corpus.rows,
        "embedding_dim": corpus.dim,
        "batches": -(-corpus.rows // batch_size),
        "errors": None if found is None else dict(found.errors),
        "bytes": None if found is None else found.bytes,
        "estimate": None if estimate is None else estimate.model_dump(mode="json"),
    }


def _table(corpus: Corpus | ReferencedCorpus, found: Scan | None, batch_size: int, estimate: Estimate | None) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if found is None:
        errors, nbytes = "not looked for: workers read the files, and this command only their footers", "none to send"
    else:
        errors, nbytes = _errors(found), f"{_size(found.bytes)} of vectors to send"
    table.add_row("rows", f"{corpus.rows:,}")
    table.add_row("dimensions", f"{corpus.dim}")
    table.add_row("errors", errors)
    table.add_row("batches", f"{-(-corpus.rows // batch_size):,} of {min(batch_size, corpus.rows):,} rows")
    table.add_row("bytes", nbytes)
    table.add_row("rows/s", _speed(estimate))
    if estimate is not None:
        table.add_row("ahead", f"{estimate.jobs_ahead:,} jobs, {estimate.rows_ahead:,} rows before it would be done")
    seconds = None if estimate is None else estimate.seconds
    table.add_row("time", "not known" if seconds is None else f"about {duration(seconds)}")
    return table


def _errors(found: Scan) -> str:
    each = ", ".join(f"{count:,} {code}" for code, count in found.errors.most_common())
    return f"{found.errors.total():,} rows: {each}" if each else "none"


def _speed(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not known: no server runs, and one that is started for this has decoded nothing yet"
    if not estimate.workers:
        return "not known: no worker runs"
    who = "1 worker" if estimate.workers == 1 else f"{estimate.workers} workers"
    if estimate.rows_per_second is None:
        return f"not known: {who}, with this decoder and these options nothing was decoded in the last hour"
    return f"{estimate.rows_per_second:,.0f}, as {who} did in the last hour"


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.1f} MB"
