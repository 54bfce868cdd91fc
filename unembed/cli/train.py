"""`unembed train`: a decoder for one's own texts, or for one's own embedder."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from unembed.cli import training_options as given
from unembed.cli.console import Exit, say, say_at_once
from unembed.cli.extras import needs
from unembed.cli.options import Device
from unembed.cli.outlook import say_outlook
from unembed.models.training.recipe import Check
from unembed.threads import wait_without_spinning
from unembed.words import duration

if TYPE_CHECKING:
    from unembed.models.training.recipe import Progress


def train(
    sets: given.Sets,
    out: Annotated[Path, typer.Option("-o", "--out", help="The checkpoint's folder; its name is the decoder's name.")],
    dev: Annotated[
        list[str] | None,
        typer.Option("--dev", help="Like --set, but not trained on: calibration and scores come from these."),
    ] = None,
    encoder: given.TextEncoder = None,
    architecture: given.Architecture = "resource_efficient_v21",
    start_from: given.StartFrom = None,
    licence: Annotated[str, typer.Option(help="The licence of the texts, for the model card.")] = "not stated",
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the texts.")] = 20.0,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Train for at most this many minutes; the learning rate is scheduled accordingly."),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            min=0,
            help="End the run early after this many reports without a gain on the --dev sets; 0: never.",
        ),
    ] = 0,
    batch_pieces: Annotated[
        int, typer.Option(min=64, help="Pieces (parts of words) in one step, padding included.")
    ] = 6144,
    learning_rate: Annotated[float, typer.Option(min=1e-6, max=1.0, help="The highest learning rate.")] = 3e-3,
    noise: Annotated[
        float,
        typer.Option(
            min=0.0, max=2.0, help="The greatest length of the noise added to an embedding, which has length 1."
        ),
    ] = 0.1,
    embedding_dropout: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="The fraction of rows that are trained without their embedding.")
    ] = 0.05,
    weight_decay: Annotated[float, typer.Option(min=0.0, max=1.0, help="AdamW's weight decay of the matrices.")] = 0.01,
    augment: Annotated[
        float,
        typer.Option(min=0.0, max=20.0, help="New texts to make from each text by exchanging words; needs --encoder."),
    ] = 0.0,
    passes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=16,
            help="How many times the layers are applied. Default: as in --start-from, or 1.",
            show_default=False,
        ),
    ] = None,
    gated_units: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Units of the MLP that the embedding scales. Default: as in --start-from, or as many as fit.",
            show_default=False,
        ),
    ] = None,
    max_pieces: given.MaxPieces = 96,
    seed: given.Seed = 0,
    device: Device = "auto",
    yes: given.Yes = False,
    threads: given.Threads = 0,
    check: given.Checking = Check.FIRST,
    report_every: Annotated[int, typer.Option(min=1, help="Report and save every N steps.")] = 200,
    score_rows: Annotated[
        int, typer.Option(min=0, help="Rows of each --dev set to decode and score at each report; 0: none.")
    ] = 200,
) -> None:
    """Train a decoder. Ctrl-C saves, and the same command continues from there."""
    wait_without_spinning()
    with needs("train"):
        import torch

        from unembed.models.device import choose
        from unembed.models.evaluation.text_sets import TextSet, require_distinct_names
        from unembed.models.training.plan import Plan
        from unembed.models.training.recipe import Recipe
        from unembed.models.training.run import look, train_decoder
    if threads:
        torch.set_num_threads(threads)
    stopping = stop_on_interrupt() if check is not Check.ONLY else []
    plan = Plan(
        name=out.resolve().name,
        folder=out,
        train=tuple(map(TextSet.parse, sets)),
        dev=tuple(map(TextSet.parse, dev or [])),
        encoder=encoder,
        architecture=architecture,
        licence=licence,
        recipe=Recipe(
            epochs=epochs,
            minutes=minutes,
            batch_pieces=batch_pieces,
            peak_learning_rate=learning_rate,
            noise=noise,
            embedding_dropout=embedding_dropout,
            weight_decay=weight_decay,
            augment=augment,
            seed=seed,
            patience=patience,
        ),
        max_pieces=max_pieces,
        passes=passes,
        gated_units=gated_units,
        device=str(choose(device).torch_device),
        start_from=start_from,
        report_every=report_every,
        score_rows=score_rows,
        check=check,
        stop=lambda: bool(stopping),
    )
    require_distinct_names(plan.dev, "--dev sets")
    if check is Check.ONLY:
        look(plan, say, say_outlook)
        return
    if not train_decoder(plan, say, lambda progress: say(progress_line(progress)), say_outlook):
        say(f"stopped and saved in {out / 'run'}; the same command continues from there")
        raise typer.Exit(Exit.INTERRUPTED)
    say(
        f"wrote the decoder {plan.name!r} to {out}: its card is {out / 'README.md'}, its curves {out / 'training.html'}"
    )


def progress_line(progress: Progress) -> str:
    """One line: how far, how good, how fast, how long still."""
    end = "  no more gain: finishing early" if progress.annealing else ""
    dev = ", ".join(f"{name} {loss:.3f}{_scores_of(progress, name)}" for name, loss in progress.dev_loss.items())
    return (
        f"step {progress.step:,}/{progress.steps:,}  pass {progress.epoch:.2f}  loss {progress.loss:.3f}"
        f"{'  dev ' + dev if dev else ''}  {progress.pieces_per_second:,.0f} pieces/s"
        f"  {_times(progress)}{end}"
    )


def _times(progress: Progress) -> str:
    passed = duration(max(1.0, progress.seconds))
    if progress.step >= progress.steps:
        return f"done after {passed}"
    return f"{passed} so far, at most {duration(max(1.0, progress.most_left))} left"


def _scores_of(progress: Progress, name: str) -> str:
    one = progress.scores.get(name)
    return f" (BLEU {one.bleu:.1f}, F1 {one.word_f1:.3f})" if one else ""


def stop_on_interrupt() -> list[int]:
    """A list that is no longer empty after the first Ctrl-C; the second one interrupts at once."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        say_at_once("stopping after this step; press Ctrl-C again to stop without saving")

    signal.signal(signal.SIGINT, ask)
    return asked
