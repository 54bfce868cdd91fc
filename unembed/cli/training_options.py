"""Options that `unembed train` and `unembed tune` share."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli.encoder_options import TextEncoder as TextEncoder
from unembed.cli.spending import Yes as Yes
from unembed.corpus.named import FORMS
from unembed.models.training.recipe import Check

Sets = Annotated[
    list[str],
    typer.Option("--set", help=f"A training set: {FORMS}. May be repeated."),
]
Architecture = Annotated[
    str,
    typer.Option(
        "--architecture", help="resource_efficient_v21, or resource_efficient_v2: the baseline, four times as large."
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
MaxPieces = Annotated[
    int,
    typer.Option("--max-pieces", min=4, max=4096, help="Leave out texts with more pieces (parts of words) than this."),
]
Checking = Annotated[
    Check,
    typer.Option(
        "--check",
        help="Look at texts and embeddings first, and refuse those that do not belong together; only look; or no look.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The seed for all random numbers.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="CPU threads; 0 lets torch decide.")]
