"""`unembed embed`: texts to a corpus of embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unembed.cli.console import say
from unembed.cli.encoder_options import Encoder
from unembed.cli.extras import needs
from unembed.cli.options import Device
from unembed.cli.spending import Yes
from unembed.corpus.embedder import METADATA
from unembed.corpus.texts import read_texts
from unembed.errors import InputError


def embed(
    texts: Annotated[Path, typer.Argument(help="A UTF-8 text file, one text a line.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="The corpus to write: .npy, or .parquet with the texts.")],
    encoder: Encoder = "all-MiniLM-L6-v2",
    device: Device = "cpu",
    yes: Yes = False,
) -> None:
    """Embed each line of a text file. A .parquet file also says whose the embeddings are."""
    if out.suffix not in (".npy", ".parquet"):
        raise InputError(f"cannot write {out.name!r}; expected a name ending in .npy or .parquet")
    import numpy as np

    from unembed.models.encoders.registry import open_encoder

    lines = read_texts(texts)
    model = open_encoder(encoder, _torch_device(device))
    try:
        vectors = model.encode(lines, lambda done: say(f"{done:,} of {len(lines):,} texts embedded"))
    except KeyboardInterrupt:
        if model.keeps:
            say("stopped; what was embedded is kept, and the same command embeds the rest", "yellow")
        raise
    if out.suffix == ".npy":
        np.save(out, vectors)
    else:
        _write_parquet(out, lines, vectors, encoder)
    say(f"wrote {len(vectors):,} embeddings of {vectors.shape[1]} dimensions to {out}")


def _torch_device(device: str) -> str:
    """Not every encoder needs torch."""
    if device == "cpu":
        return device
    with needs("decoder"):
        from unembed.models.device import choose
    return str(choose(device).torch_device)


def _write_parquet(out: Path, lines: list[str], vectors: Any, encoder: str) -> None:
    """The texts, their embeddings (N, D), and in the metadata whose they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"text": lines, "embedding": column})
    pq.write_table(table.replace_schema_metadata({METADATA: encoder.encode()}), out)
