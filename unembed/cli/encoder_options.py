"""The option by which verbs are told of an encoder. What a person names there may run, in this process."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from unembed.models.encoders.permission import permit

KINDS: Final = (
    "all-MiniLM-L6-v2, multilingual-e5-small, sentence-transformers:NAME_OR_FOLDER, openai:MODEL, ...: see "
    "`unembed encoders`"
)


def _permit(given: str | None) -> str | None:
    return None if given is None else permit(given)


Encoder = Annotated[str, typer.Option("--encoder", metavar="SPEC", help=f"The embedder: {KINDS}.", callback=_permit)]
CheckpointEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="SPEC",
        help="Let the encoder that the decoder names run, if it is this one; those that Unembed knows always may.",
        callback=_permit,
    ),
]
TextEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder", metavar="SPEC", help=f"The embedder of texts without embeddings: {KINDS}.", callback=_permit
    ),
]
