"""`unembed compare`: the decoder v2.1 against v2.0 on this machine."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from unembed.cli import options as given
from unembed.cli.console import out, say
from unembed.cli.extras import needs
from unembed.corpus.texts import read_texts


def compare(
    texts: Annotated[
        Path,
        typer.Argument(
            help="A UTF-8 text file, one text a line; how long they are decides how long it takes.",
            exists=True,
            dir_okay=False,
        ),
    ],
    rows: Annotated[int, typer.Option(min=1, help="Rows in the batch.")] = 256,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the two take turns, and the medians count.")] = 9,
    requests: Annotated[int, typer.Option(min=1, help="Generations that run at once.")] = 3,
    embedding_dim: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 768,
    device: given.Device = "auto",
    precision: given.Precision = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch chooses.")] = 0,
    record: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="The JSON to write; without it, docs/benchmarks/decoders-<device>.json.",
            show_default=False,
        ),
    ] = None,
    as_json: given.AsJson = False,
) -> None:
    """Compare the decoder v2.1 with v2.0 on this machine: memory, rows a second, latency.

    The weights are random; no checkpoint is needed.
    """
    with needs("decoder"):
        from unembed.models.evaluation.compare import Comparison
        from unembed.models.evaluation.compare import compare as measure
    asked = Comparison(embedding_dim, rows, rounds, requests, device, precision, threads)
    found = measure(asked, read_texts(texts), shlex.join(["unembed", *sys.argv[1:]]))
    path = record or Path(f"docs/benchmarks/decoders-{found['machine']['type']}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show(found)
    say(f"wrote {path}")


def _show(record: dict[str, Any]) -> None:
    from rich.table import Table

    new, old = record["measured"].values()  # v2.1 comes first
    saved = record["ratios"]
    table = Table("", "v2.1", "v2.0", "v2.1 is", title=_title(record))

    def row(label: str, value: Callable[[dict[str, Any]], str], ratio: str = "") -> None:
        table.add_row(label, value(new), value(old), ratio)

    row("parameters", lambda one: f"{one['parameters']:,}")
    row("pieces a text", lambda one: f"{one['pieces_per_text']:.1f}")
    row("weights", lambda one: _mb(one["memory"]["weights"]), f"{saved['weights_saved']:.0%} less")
    row("peak of one generation", lambda one: _mb(one["memory"]["one"]), f"{saved['one_saved']:.0%} less")
    row("peak of the batch", lambda one: _mb(one["memory"]["batch"]), f"{saved['batch_saved']:.0%} less")
    if new["memory"]["process"] is not None:
        row("whole process", lambda one: _mb(one["memory"]["process"]))
    row("rows a second", lambda one: f"{one['rows_per_second']:,.0f}", _times(saved["batch_times_as_fast"]))
    row("one generation", lambda one: f"{one['latency_ms']:.1f} ms", _times(saved["one_times_as_fast"]))
    together = _times(saved["together_times_as_fast"])
    row(f"{record['requests']} at once, all there", lambda one: f"{one['together_ms']:.1f} ms", together)
    out.print(table)


def _title(record: dict[str, Any]) -> str:
    machine = record["machine"]
    return f"{machine['device']} in {machine['precision']}, {record['rows']} rows"


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _times(ratio: float) -> str:
    return f"{ratio:.2f} × as fast"
