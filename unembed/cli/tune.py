"""`unembed tune`: which settings of `unembed train` suit one's own texts."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unembed.cli import training_options as given
from unembed.cli.console import Exit, err, say
from unembed.cli.extras import needs
from unembed.cli.options import AsJson, Device
from unembed.cli.train import stop_on_interrupt
from unembed.errors import InputError
from unembed.threads import wait_without_spinning

if TYPE_CHECKING:
    from rich.table import Table

    from unembed.models.training.tune import Tried


def tune(
    sets: given.Sets,
    dev: Annotated[
        list[str], typer.Option("--dev", help="Like --set, but not trained on: these decide which run is best.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="A folder for the search; an interrupted one continues from it.")
    ],
    encoder: given.TextEncoder = None,
    architecture: given.Architecture = "resource_efficient_v21",
    start_from: given.StartFrom = None,
    trials: Annotated[int, typer.Option(min=1, help="Runs in total, counting those already in the folder.")] = 20,
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the texts in each run.")] = 2.0,
    most_passes: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=16,
            help="Also try applying the layers more than once, up to this many times.",
            show_default=False,
        ),
    ] = None,
    max_pieces: given.MaxPieces = 96,
    seed: given.Seed = 0,
    device: Device = "auto",
    yes: given.Yes = False,
    threads: given.Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Search for good settings with short runs. Ctrl-C stops, and the same command continues from there.

    Shows a table on stderr, and prints on stdout the `unembed train` command with the best settings.
    """
    wait_without_spinning()
    with needs("train"):
        import torch

        from unembed.models.device import choose
        from unembed.models.evaluation.text_sets import TextSet
        from unembed.models.training.command import command_of
        from unembed.models.training.plan import Plan
        from unembed.models.training.recipe import Recipe
        from unembed.models.training.tune import SearchLimits
        from unembed.models.training.tune import tune as search
    if threads:
        torch.set_num_threads(threads)
    stopping = stop_on_interrupt()
    plan = Plan(
        name="search",
        folder=out,
        train=tuple(map(TextSet.parse, sets)),
        dev=tuple(map(TextSet.parse, dev)),
        encoder=encoder,
        licence="",
        recipe=Recipe(seed=seed),
        architecture=architecture,
        max_pieces=max_pieces,
        device=str(choose(device).torch_device),
        start_from=start_from,
        stop=lambda: bool(stopping),
    )
    tried = search(plan, SearchLimits(trials, epochs, most_passes), say)
    err.print(table_of(tried))
    if stopping:
        say(f"stopped and saved in {out}; the same command continues from there")
        raise typer.Exit(Exit.INTERRUPTED)
    if not tried or tried[0].ended_early:
        raise InputError("no run finished with a finite loss; expected texts that a network can learn")
    best = tried[0]
    found = replace(plan, folder=out / "best", passes=best.passes if most_passes else None)
    command = command_of(found, best.recipe)
    typer.echo(json.dumps({"command": command, "dev_loss": best.loss}) if as_json else shlex.join(command))


def table_of(tried: list[Tried]) -> Table:
    """The runs of a search, the best first."""
    from rich.table import Table

    table = Table("run", "dev loss", "learning rate", "noise", "embedding dropout", "batch pieces", "passes")
    for one in tried:
        recipe = one.recipe
        table.add_row(
            str(one.number),
            f"{one.loss:.4f}{', ended early' if one.ended_early else ''}",
            f"{recipe.peak_learning_rate:g}",
            f"{recipe.noise:g}",
            f"{recipe.embedding_dropout:g}",
            f"{recipe.batch_pieces:,}",
            str(one.passes),
        )
    return table
