"""`unembed decoders`: the decoders that a job may name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.table import Table

from unembed.cli import options as given
from unembed.cli.console import out, say
from unembed.cli.extras import needs
from unembed.cli.foreground import server_for
from unembed.schemas import DEFAULT_DECODER, DecoderInfo


def decoders(as_json: given.AsJson = False, url: given.Url = None, home: given.Home = None) -> None:
    """List the decoders: their names, the dimensions and the embedder that each reads.

    Those of the server, or, where none runs, those on this machine.
    """
    found = _found(url, home)
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
    elif found:
        out.print(_table(found))
    else:
        say("no decoders")


def _found(url: str | None, home: Path | None) -> Sequence[DecoderInfo]:
    if server := server_for(url, home):
        with given.connect(server, home) as client:
            return client.decoders()
    with needs("decoder"):
        from unembed.models.decoder import catalog
    say("no server runs; these are on this machine:", "dim")
    return catalog.described()


def _table(found: Sequence[DecoderInfo]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("DECODER", "DIMENSIONS", "READS", "ARCHITECTURE"):
        table.add_column(heading, justify="right" if heading == "DIMENSIONS" else "left", no_wrap=True)
    for one in found:
        name = f"{one.name} (the default)" if one.name == DEFAULT_DECODER else one.name
        table.add_row(name, str(one.embedding_dim), one.encoder or "any", one.architecture)
    return table
