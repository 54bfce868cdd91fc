"""`unembed train`: a decoder for one's own texts, or for one's own embedder."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from unembed.cli import training_options as given
from unembed.cli.console import Exit, say
from unembed.cli.evaluate import parse_text_set
from unembed.cli.extras import needs
from unembed.errors import InputError
from unembed.threads import wait_without_spinning

if TYPE_CHECKING:
    from unembed.models.training.recipe import Progress


def train(
    sets: given.Sets,
    out: Annotated[Path, typer.Option("-o", "--out", help="The checkpoint's folder; its name is the decoder's name.")],
    dev: Annotated[
        list[str] | None, typer.Option("--dev", help="Like --set, held out: calibration and scores come from these.")
    ] = None,
    encoder: given.TextEncoder = None,
    architecture: given.Architecture = "resource_efficient_v21",
    start_from: given.StartFrom = None,
    licence: Annotated[str, typer.Option(help="Of the texts; goes on the model card.")] = "not stated",
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the texts.")] = 20.0,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Of training at most; the learning rate follows.")
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            min=0, help="Reports without a gain on the --dev sets, after which it anneals and ends; 0: goes on."
        ),
    ] = 0,
    batch_pieces: Annotated[int, typer.Option(min=64, help="Pieces a step, padding included.")] = 6144,
    learning_rate: Annotated[float, typer.Option(min=1e-6, max=1.0, help="At its peak.")] = 3e-3,
    noise: Annotated[float, typer.Option(min=0.0, max=2.0, help="Longest noise added to a unit embedding.")] = 0.1,
    embedding_dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of rows without embedding.")] = 0.05,
    weight_decay: Annotated[float, typer.Option(min=0.0, max=1.0, help="Of the matrices, by AdamW.")] = 0.01,
    augment: Annotated[
        float,
        typer.Option(min=0.0, max=20.0, help="Texts to make from each text, words exchanged; needs an --encoder."),
    ] = 0.0,
    passes: Annotated[
        int | None,
        typer.Option(
            min=1, max=16, help="How often the layers are applied; as the base's, else 1.", show_default=False
        ),
    ] = None,
    gated_units: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of the MLP, scaled by the embedding; as the base's, else what 722,944 parameters have room for.",
            show_default=False,
        ),
    ] = None,
    max_pieces: given.MaxPieces = 96,
    seed: given.Seed = 0,
    device: given.Device = "auto",
    threads: given.Threads = 0,
    report_every: Annotated[int, typer.Option(min=1, help="Steps between two lines of progress, each a save.")] = 200,
    score_rows: Annotated[
        int, typer.Option(min=0, help="Rows of each --dev set that are decoded at each report; 0: none.")
    ] = 200,
) -> None:
    """Train a decoder; Ctrl-C saves, and the same command goes on from there."""
    wait_without_spinning()
    with needs("train"):
        import torch

        from unembed.models.decoder.device import choose
        from unembed.models.training.recipe import Recipe
        from unembed.models.training.run import Plan, train_decoder
    if threads:
        torch.set_num_threads(threads)
    stopping = stop_on_interrupt()
    plan = Plan(
        name=out.resolve().name,
        folder=out,
        train=tuple(map(parse_text_set, sets)),
        dev=tuple(map(parse_text_set, dev or [])),
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
        stop=lambda: bool(stopping),
    )
    if len({one.name for one in plan.dev}) < len(plan.dev):
        raise InputError("two --dev sets have the same name; expected a name each, as the card's table needs")
    if not train_decoder(plan, say, lambda progress: say(progress_line(progress))):
        say(f"stopped; the same command goes on from what is saved in {out / 'run'}")
        raise typer.Exit(Exit.INTERRUPTED)
    say(
        f"wrote the decoder {plan.name!r} to {out}; its card is {out / 'README.md'}, its curves {out / 'training.html'}"
    )


def progress_line(progress: Progress) -> str:
    """One line: how far, how good, how fast, how long still."""
    done = progress.step / progress.steps
    left = progress.seconds / max(done, 1e-9) * (1.0 - done)
    end = "  no gain any more: annealing" if progress.annealing else ""
    dev = ", ".join(f"{name} {loss:.3f}{_scores_of(progress, name)}" for name, loss in progress.dev_loss.items())
    return (
        f"step {progress.step:,}/{progress.steps:,}  pass {progress.epoch:.2f}  loss {progress.loss:.3f}"
        f"{'  dev ' + dev if dev else ''}  {progress.pieces_per_second:,.0f} pieces/s"
        f"  {progress.seconds / 60:.0f} min, at most {left / 60:.0f} to go{end}"
    )


def _scores_of(progress: Progress, name: str) -> str:
    one = progress.scores.get(name)
    return f" (BLEU {one.bleu:.1f}, F1 {one.word_f1:.3f})" if one else ""


def stop_on_interrupt() -> list[int]:
    """A list that is no longer empty after the first Ctrl-C; the second one interrupts at once."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        say("stopping after this step; once more to stop without saving")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, ask)
    return asked
