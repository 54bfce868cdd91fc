"""`unembed train` from end to end: texts → pieces → network → calibrated checkpoint with its card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unembed.errors import CheckpointError, InputError
from unembed.models.decoder.checkpoint import TOKENIZER_FILE, Checkpoint, load_checkpoint, save_checkpoint
from unembed.models.decoder.config import RET_V21, CheckpointConfig, NetworkConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.manifold import Manifold, fit_manifold
from unembed.models.decoder.self_test import make_self_test
from unembed.models.decoder.sketch import Sketch
from unembed.models.decoder.tokenizer import REPLACEMENT, Tokenizer
from unembed.models.encoders.registry import encoder_if_it_runs, shared_encoder
from unembed.models.evaluation.measure import measure
from unembed.models.evaluation.text_sets import Library, Say, TextSet
from unembed.models.training.augment import augment
from unembed.models.training.calibrate import calibrate_both
from unembed.models.training.card import Trained, write_card
from unembed.models.training.curves import CURVES_FILE, write_curves
from unembed.models.training.data import Pairs, check_alphabet, pair
from unembed.models.training.greedy import GreedyScorer, HeldOut
from unembed.models.training.loop import REMEDY, Run
from unembed.models.training.recipe import Progress, Recipe, StartingDecoder
from unembed.models.training.sketch import fit_sketch
from unembed.models.training.warm import WarmStart
from unembed.schemas import GREEDY


@dataclass(frozen=True)
class Plan:
    """What to train, on what, where to."""

    name: str
    folder: Path  # of the checkpoint; its subfolder `run` keeps what is needed to go on
    train: tuple[TextSet, ...]
    dev: tuple[TextSet, ...]
    encoder: str | None
    licence: str
    recipe: Recipe
    architecture: str = RET_V21
    max_pieces: int = 96
    passes: int | None = None  # how often the layers are applied; None: as often as the base's, else once
    gated_units: int | None = None  # of the MLP; None: the base's, else as many as fit
    device: str = "cpu"
    start_from: str | None = None  # a decoder's name, or a checkpoint's folder; the recipe then names it as its base
    report_every: int = 200
    score_rows: int = 200  # of each dev set, decoded at each report; 0: none
    dev_rows: int | None = None  # score on the first so many rows of each dev set; None: all
    stop: Callable[[], bool] = field(default=lambda: False)


@dataclass(frozen=True)
class Material:
    """What a run learns from, begins with and is judged by."""

    config: NetworkConfig
    tokenizer: Tokenizer
    texts: list[str]
    vectors: npt.NDArray[np.float32]  # (N, E), of the texts
    pairs: Pairs  # of those that are not too long
    made: Pairs | None  # of texts made from the others
    dev_pairs: dict[str, Pairs]
    held_out: dict[str, HeldOut]  # the dev sets again, as texts
    sample: npt.NDArray[np.float32]  # (N, E), held out if there are such
    base: StartingDecoder | None
    weights: dict[str, Tensor]  # of the base


def train_decoder(plan: Plan, say: Say, report: Callable[[Progress], None]) -> bool:
    """Trains, or goes on training, and exports. False when it was stopped before its end: the run can be taken up.

    Raises InputError for a patience without dev sets, for texts without vectors or an encoder, and for a base that
    cannot write the texts; CheckpointError for a run that was begun otherwise, and for a base that does not fit.
    """
    if plan.recipe.patience and not plan.dev:
        raise InputError(f"patience is {plan.recipe.patience}, but there is no dev set; expected at least one --dev")
    material = gather(plan, say)
    config, pairs, tokenizer = material.config, material.pairs, material.tokenizer
    recipe = replace(plan.recipe, base=material.base)
    run = Run(plan.folder / "run", config, recipe, plan.device, material.weights)
    if run.resume():
        say(f"continuing from step {run.step:,}, after {run.seconds / 60:.0f} minutes of training")
    say(f"training {config.parameters:,} parameters on {len(pairs):,} texts, {pairs.total_pieces:,} pieces per pass")
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
    )
    checkpoint = Checkpoint(
        CheckpointConfig(name=plan.name, network=config, encoder=plan.encoder),
        run.best().cpu(),
        tokenizer,
        manifold=_manifold(material.pairs.embeddings, say),
        sketch=_sketch(material, say),
    )
    dev = {name: list(one.texts) for name, one in material.held_out.items()}
    vectors = {name: one.embeddings for name, one in material.held_out.items()}
    export(plan, checkpoint, trained, dev, vectors, material.sample, say)
    return True


def gather(plan: Plan, say: Say) -> Material:
    """Reads the texts and their vectors, or embeds them, and cuts the texts into the base's pieces or their own."""
    run_folder = plan.folder / "run"
    run_folder.mkdir(parents=True, exist_ok=True)
    library = Library(plan.encoder, run_folder, say)
    lines, vectors = library.read_all(plan.train)
    warm = WarmStart.read(plan.start_from, plan.architecture) if plan.start_from else None
    config, tokenizer, warm = _network(plan, vectors.shape[1], lines, warm, say)
    pairs, left_out = pair(lines, vectors, tokenizer, plan.max_pieces)
    if left_out:
        say(f"leaving out {left_out:,} texts that have more than {plan.max_pieces} pieces")
    if rare := check_alphabet(pairs, lines, tokenizer):
        say(f"{rare:.2%} of the pieces are characters too rare to have one: they will be written as {REPLACEMENT}")
    if warm:
        _tell(warm, config, say)
    fresh = Library(plan.encoder, None, say)  # in float32, as `unembed evaluate` embeds them
    held_out = {one.name: HeldOut(*fresh.read(one)) for one in plan.dev}
    for name, held in held_out.items():
        if held.embeddings.shape[1] != config.embedding_dim:
            raise InputError(
                f"{name} has embeddings of {held.embeddings.shape[1]} dimensions; expected {config.embedding_dim}, "
                "like the training texts"
            )
    made = None
    if plan.recipe.augment:
        made = _made(
            plan, lines, [line for one in held_out.values() for line in one.texts], config, library, tokenizer, say
        )
    return Material(
        config=config,
        tokenizer=tokenizer,
        texts=lines,
        vectors=vectors,
        pairs=pairs,
        made=made,
        dev_pairs={
            name: pair(one.texts, one.embeddings, tokenizer, plan.max_pieces)[0] for name, one in held_out.items()
        },
        held_out=held_out,
        sample=next((one.embeddings for one in held_out.values()), vectors),
        base=warm.base if warm else None,
        weights=warm.weights(config) if warm else {},
    )


def _made(
    plan: Plan,
    lines: Sequence[str],
    held_out: Sequence[str],
    config: NetworkConfig,
    library: Library,
    tokenizer: Tokenizer,
    say: Say,
) -> Pairs:
    """Pairs of texts made from the others. Raises InputError where no encoder can embed them as the others were."""
    if plan.encoder is None:
        raise InputError(
            f"augment is {plan.recipe.augment}, but there is no encoder to embed new texts; expected --encoder"
        )
    dim = shared_encoder(plan.encoder).dim
    if dim != config.embedding_dim:
        raise InputError(
            f"augment is {plan.recipe.augment}, but {plan.encoder!r} embeds new texts in {dim} dimensions; expected "
            f"{config.embedding_dim}, like the training texts"
        )
    texts = augment(lines, plan.recipe.augment, plan.recipe.seed, held_out)
    say(f"made {len(texts):,} new texts from the {len(lines):,}")
    vectors = library.embedded("new texts", texts)
    made, _ = pair(texts, vectors, tokenizer, plan.max_pieces)
    return made


def _tell(warm: WarmStart, config: NetworkConfig, say: Say) -> None:
    """What is taken from the base."""
    say(f"starting from {warm.base.name!r}")
    if warm.base.known_pieces is not None:
        say(
            f"it cannot write these texts: they have pieces of their own, and it knows {warm.base.known_pieces} of them"
        )
    ours, theirs = config.embedding_dim, warm.base.embedding_dim
    if ours != theirs:
        fresh = "the bridge and the gates start" if config.gated_units else "the bridge starts"
        say(f"its bridge reads {theirs} dimensions, not {ours}: {fresh} fresh")


def export(
    plan: Plan,
    checkpoint: Checkpoint,
    trained: Trained,
    dev: dict[str, list[str]],
    vectors: dict[str, npt.NDArray[np.float32]],
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
    scores, calibrated = {}, None
    config = checkpoint.config
    if dev:
        say("calibrating on held-out rows")
        decoder = GenerativeDecoder.load(plan.folder, plan.device)
        all_texts = [line for lines in dev.values() for line in lines]
        all_vectors = np.concatenate(list(vectors.values()))
        encoder = encoder_if_it_runs(plan.encoder, say)
        calibrated = calibrate_both(decoder, all_texts, all_vectors, seen=encoder is not None)
        config = calibrated.of(config)
        save_checkpoint(plan.folder, replace(checkpoint, config=config))
        decoder = GenerativeDecoder.load(plan.folder, plan.device)
        for name, lines in dev.items():
            say(f"scoring on {name}")
            rows = slice(plan.dev_rows)
            scores[name] = measure(decoder, lines[rows], vectors[name][rows], encoder, GREEDY).scores
    write_card(plan.folder, config, trained, scores, calibrated, checkpoint.manifold, checkpoint.sketch)


def _manifold(vectors: npt.NDArray[np.float32], say: Say) -> Manifold | None:
    try:
        return fit_manifold(vectors)
    except InputError as error:  # the network is worth keeping without it
        say(f"the decoder will not recognise vectors off the manifold: {error}")
        return None


def _sketch(material: Material, say: Say) -> Sketch | None:
    try:
        return fit_sketch(material.texts, material.vectors, say=say)
    except InputError as error:  # nor without this
        say(f"the decoder will have no sketch: {error}")
        return None


def _network(
    plan: Plan, embedding_dim: int, lines: Sequence[str], warm: WarmStart | None, say: Say
) -> tuple[NetworkConfig, Tokenizer, WarmStart | None]:
    """The network's shape and the pieces: the base's, where there is one that can write the texts, else learnt from
    them once; and the base, which knows of it.

    Raises CheckpointError when the run was begun with other pieces than the base's.
    """
    path = plan.folder / "run" / TOKENIZER_FILE
    numbers = {"embedding_dim": embedding_dim, "max_pieces": plan.max_pieces}
    numbers |= {} if plan.passes is None else {"passes": plan.passes}
    numbers |= {} if plan.gated_units is None else {"gated_units": plan.gated_units}
    config = warm.config(**numbers) if warm else NetworkConfig.of(plan.architecture, **numbers)
    suits = warm is not None and warm.suits(lines)
    if warm and suits:
        if not path.exists():
            warm.checkpoint.tokenizer.save(path)
    elif not path.exists():
        say("learning the pieces")
        Tokenizer.train(lines, config.vocab_size).save(path)
    tokenizer = Tokenizer.load(path)
    if warm and suits != tokenizer.same_as(warm.checkpoint.tokenizer):
        raise CheckpointError(f"{path.parent} was started with other pieces than {warm.base.name!r} has; {REMEDY}")
    if warm and not suits:
        warm = warm.with_pieces(tokenizer)
    # They are fewer where texts have no more.
    return config.model_copy(update={"vocab_size": tokenizer.vocab_size}), tokenizer, warm
