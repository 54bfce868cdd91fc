"""`unembed train` from end to end: texts → pieces → network → calibrated checkpoint with its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from unembed.errors import InputError
from unembed.models.decoder.checkpoint import TOKENIZER_FILE, Checkpoint, load_checkpoint, save_checkpoint
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.self_test import make_self_test
from unembed.models.encoders.registry import encoder_if_it_runs
from unembed.models.evaluation.text_sets import Say
from unembed.models.training.calibrate import calibrate_both
from unembed.models.training.card import Trained, write_card
from unembed.models.training.command import command_of
from unembed.models.training.curves import CURVES_FILE, write_curves
from unembed.models.training.dev_scores import DevScores, HeldOut, together
from unembed.models.training.expectation import Outlook
from unembed.models.training.greedy import GreedyScorer
from unembed.models.training.loop import Run, count_batches
from unembed.models.training.material import Material, gather
from unembed.models.training.optional_parts import manifold_or_none, sketch_or_none
from unembed.models.training.plan import Plan
from unembed.models.training.recipe import Progress


def look(plan: Plan, say: Say, foresee: Callable[[Outlook], None]) -> None:
    """Reads and checks what the plan would train on, and says how long that would take. Raises as `train_decoder`.

    Of the folder, only texts that had to be embedded are kept.
    """
    pieces_path = plan.folder / "run" / TOKENIZER_FILE
    begun = pieces_path.exists()
    try:
        material = gather(plan, say)
        run = Run(
            plan.folder / "run",
            material.config,
            replace(plan.recipe, base=material.base),
            plan.device,
            even=material.even,
        )
        run.resume()
        foresee(outlook(plan, material, run))
    finally:
        if not begun:
            pieces_path.unlink(missing_ok=True)  # other texts may have others


def outlook(plan: Plan, material: Material, run: Run) -> Outlook:
    """Of a run that is to begin or to go on, from a few steps of another."""
    pairs, recipe = material.pairs, run.recipe
    steps = recipe.steps(count_batches(pairs, recipe.batch_pieces))
    left = max(0, steps - run.step)
    trial = Run(plan.folder / "run", material.config, recipe, plan.device, material.weights, material.even)
    return Outlook(
        texts=len(pairs),
        steps=left,
        pieces=round(pairs.total_pieces * recipe.epochs * left / steps),
        pieces_per_second=trial.pace(pairs),
        most_seconds=None if recipe.minutes is None else max(0.0, 60.0 * recipe.minutes - run.seconds),
        base=material.base.name if material.base else None,
    )


def train_decoder(
    plan: Plan,
    say: Say,
    report: Callable[[Progress], None],
    foresee: Callable[[Outlook], None] = lambda _: None,
) -> bool:
    """Trains, or goes on training, and exports. False when it was stopped before its end: the run can be taken up.

    `foresee` is told what to expect before it begins.

    Raises InputError for a patience without dev sets, for texts without vectors or an encoder, and for a base that
    cannot write the texts; CheckpointError for a run that was begun otherwise, and for a base that does not fit.
    """
    if plan.recipe.patience and not plan.dev:
        raise InputError(f"patience is {plan.recipe.patience}, but there is no dev set; expected at least one --dev")
    material = gather(plan, say)
    config, pairs, tokenizer = material.config, material.pairs, material.tokenizer
    recipe = replace(plan.recipe, base=material.base)
    run = Run(plan.folder / "run", config, recipe, plan.device, material.weights, material.even)
    if run.resume():
        say(f"continuing from step {run.step:,}, after {run.seconds / 60:.0f} minutes of training")
    say(f"training {config.parameters:,} parameters on {len(pairs):,} texts, {pairs.total_pieces:,} pieces per pass")
    foresee(outlook(plan, material, run))
    scorer = GreedyScorer(tokenizer, material.held_out, plan.score_rows)

    def reported(progress: Progress) -> None:
        write_curves(plan.folder / CURVES_FILE, plan.name, recipe, run.lines(), run.finished)
        report(progress)

    last = run.train(pairs, material.dev_pairs, reported, plan.report_every, plan.stop, scorer, material.made)
    if not run.finished:
        return False
    trained = Trained(
        sources=tuple(one.name for one in plan.train),
        licence=plan.licence,
        texts=len(pairs),
        pieces=pairs.total_pieces,
        recipe=recipe,
        last=last,
        threads=torch.get_num_threads(),
        command=tuple(command_of(plan, recipe, torch.get_num_threads())),
        sets=material.records,
    )
    checkpoint = Checkpoint(
        CheckpointConfig(name=plan.name, network=config, encoder=material.embedder),
        run.best().cpu(),
        tokenizer,
        manifold=manifold_or_none(material.pairs.embeddings, say),
        sketch=sketch_or_none(material.texts, material.vectors, say),
    )
    held_out = {name: (list(one.texts), one.embeddings) for name, one in material.held_out.items()}
    export(plan, checkpoint, trained, held_out, material.sample, say)
    return True


def export(
    plan: Plan,
    checkpoint: Checkpoint,
    trained: Trained,
    held_out: HeldOut,
    sample: npt.NDArray[np.float32],
    say: Say,
) -> None:
    """Saves, calibrates, scores and describes a checkpoint; what is measured is what was saved, in half precision.

    The first vectors of `sample` (N, E) become its self-test.
    """
    save_checkpoint(plan.folder, checkpoint)
    saved = load_checkpoint(plan.folder)
    checkpoint = replace(checkpoint, self_test=make_self_test(saved.network, saved.tokenizer, sample))
    save_checkpoint(plan.folder, checkpoint)
    scored, calibrated = None, None
    config = checkpoint.config
    if held_out:
        say("calibrating on held-out rows")
        decoder = GenerativeDecoder.load(plan.folder, plan.device)
        texts, vectors = together(held_out)
        encoder = encoder_if_it_runs(config.encoder, say)
        calibrated = calibrate_both(decoder, texts, vectors, seen=encoder is not None)
        config = calibrated.of(config)
        save_checkpoint(plan.folder, replace(checkpoint, config=config))
        rows = slice(plan.dev_rows)
        first = {name: (lines[rows], own[rows]) for name, (lines, own) in held_out.items()}
        scored = DevScores.of(decoder, first, encoder, say)
    write_card(plan.folder, config, trained, scored, calibrated, checkpoint.manifold, checkpoint.sketch)
