"""`unembed add-calibration`: let a decoder say how likely its texts are to be faithful."""

from __future__ import annotations

from typing import Annotated

import typer

from unembed.cli.console import out, say
from unembed.cli.encoder_options import CheckpointEncoder
from unembed.cli.extras import needs
from unembed.cli.spending import Yes
from unembed.cli.training_options import Threads
from unembed.corpus.named import FORMS
from unembed.threads import wait_without_spinning


def add_calibration(
    decoder: Annotated[str, typer.Argument(help="A decoder's name, or a checkpoint's folder.")],
    sets: Annotated[
        list[str],
        typer.Option(
            "--set",
            help=f"Texts that the decoder was not trained on: {FORMS}. May be repeated.",
        ),
    ],
    encoder: CheckpointEncoder = None,
    yes: Yes = False,
    threads: Threads = 0,
) -> None:
    """Calibrate a checkpoint anew, for its overall_quality: after it was given a sketch, or for other texts.

    `unembed train` does this by itself. The weights are not touched. How well the calibration judges texts that it was
    not fitted to is printed as JSON; the model card tells of it, and of how near the decoder's texts come.
    """
    wait_without_spinning()
    with needs("train"):
        import torch

        from unembed.models.evaluation.text_sets import TextSet
        from unembed.models.training.add_calibration import add_calibration as add
        from unembed.models.training.card import recorded_checks
    if threads:
        torch.set_num_threads(threads)
    made = add(decoder, list(map(TextSet.parse, sets)), say)
    say(f"{decoder} is now calibrated on {made.blind.rows:,} texts")
    out.print_json(data=recorded_checks(made))
