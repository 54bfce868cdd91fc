"""Options that `unembed train` and `unembed tune` share."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli.options import ENCODERS

Sets = Annotated[
    list[str],
    typer.Option("--set", help="NAME=TEXTS or NAME=TEXTS,EMBEDDINGS.npy to train on; may be given more than once."),
]
TextEncoder = Annotated[
    str | None, typer.Option("--encoder", help=f"Embeds the texts that come without embeddings: {ENCODERS}.")
]
Architecture = Annotated[
    str,
    typer.Option(
        "--architecture", help="resource_efficient_v21, or resource_efficient_v2: four times as large, the baseline."
    ),
]
StartFrom = Annotated[
    str | None,
    typer.Option(
        "--start-from",
        metavar="NAME|FOLDER",
        help="The decoder to start from: its name, or the path of its folder, such as runs/mine.",
    ),
]
MaxPieces = Annotated[int, typer.Option("--max-pieces", min=4, max=4096, help="Longer texts are left out.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything that is drawn.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:0.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="CPU threads; 0: as torch likes.")]
