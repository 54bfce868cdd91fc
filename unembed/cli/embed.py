"""`unembed embed`: texts to a corpus of embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unembed.cli.console import say
from unembed.cli.encoder_options import Encoder
from unembed.cli.options import Device
from unembed.errors import InputError


def embed(
    texts: Annotated[Path, typer.Argument(help="A UTF-8 text file, one text a line.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="The corpus to write: .npy, or .parquet with the texts.")],
    encoder: Encoder = "all-MiniLM-L6-v2",
    device: Device = "cpu",
) -> None:
    """Embed each line of a text file. Needs the extra `minilm`."""
    if out.suffix not in (".npy", ".parquet"):
        raise InputError(f"cannot write {out.name!r}; expected a name ending in .npy or .parquet")
    from unembed.cli.extras import needs

    with needs("train"):
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        from unembed.models.device import choose
        from unembed.models.encoders.registry import open_encoder
        from unembed.models.evaluation.text_sets import read_texts
    lines = read_texts([texts])
    model = open_encoder(encoder, str(choose(device).torch_device))
    vectors = model.encode(lines, lambda done: say(f"{done:,} of {len(lines):,} texts embedded"))
    if out.suffix == ".npy":
        np.save(out, vectors)
    else:
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        pq.write_table(pa.table({"text": lines, "embedding": column}), out)
    say(f"wrote {len(vectors):,} embeddings of {vectors.shape[1]} dimensions to {out}")
