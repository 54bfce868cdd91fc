"""`unembed train` from end to end: texts → pieces → network → calibrated checkpoint with its card."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from models.decoder.checkpoint import TOKENIZER_FILE, Checkpoint, load_checkpoint, save_checkpoint
from models.decoder.config import RET_V21, CheckpointConfig, NetworkConfig
from models.decoder.encoder import shared_encoder
from models.decoder.generative import GenerativeDecoder
from models.decoder.manifold import Manifold, fit_manifold
from models.decoder.quality import SEEN_FEATURES
from models.decoder.self_test import make_self_test
from models.decoder.tokenizer import Tokenizer
from models.decoder.training.calibrate import SEEN_ROWS, SEEN_WAYS, calibrate
from models.decoder.training.card import Trained, write_card
from models.decoder.training.data import pair, read_texts
from models.decoder.training.loop import Progress, Recipe, Run
from models.decoder.training.measure import measure
from unembed.errors import InputError

Say = Callable[[str], None]


@dataclass(frozen=True)
class TextSet:
    """A named set of texts; its vectors come from a .npy file, or from the encoder."""

    name: str
    texts: Path
    embeddings: Path | None = None


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
    device: str = "cpu"
    report_every: int = 200
    dev_rows: int | None = None  # score on the first so many rows of each dev set; None: all
    stop: Callable[[], bool] = field(default=lambda: False)


def train_decoder(plan: Plan, say: Say, report: Callable[[Progress], None]) -> bool:
    """Trains, or goes on training, and exports. False when it was stopped before its end: the run can be taken up."""
    run_folder = plan.folder / "run"
    run_folder.mkdir(parents=True, exist_ok=True)
    library = Library(plan.encoder, run_folder, say)
    texts = [read_texts([one.texts]) for one in plan.train]
    vectors = np.concatenate([library.vectors(one, lines) for one, lines in zip(plan.train, texts, strict=True)])
    lines = [line for part in texts for line in part]
    config = NetworkConfig.of(plan.architecture, embedding_dim=vectors.shape[1], max_pieces=plan.max_pieces)
    tokenizer = _tokenizer(run_folder, lines, config.vocab_size, say)
    config = config.model_copy(update={"vocab_size": tokenizer.vocab_size})  # fewer, where the texts have no more
    pairs, left_out = pair(lines, vectors, tokenizer, plan.max_pieces)
    if left_out:
        say(f"{left_out:,} texts of more than {plan.max_pieces} pieces are left out")
    dev = {one.name: (read_texts([one.texts]), one) for one in plan.dev}
    fresh = Library(plan.encoder, None, say)  # in float32, as `unembed evaluate` embeds them
    dev_vectors = {name: fresh.vectors(one, lines) for name, (lines, one) in dev.items()}
    dev_pairs = {
        name: pair(lines, dev_vectors[name], tokenizer, plan.max_pieces)[0] for name, (lines, _) in dev.items()
    }

    run = Run(run_folder, config, plan.recipe, plan.device)
    if run.resume():
        say(f"going on from step {run.step:,}, {run.seconds / 60:.0f} minutes in")
    say(f"training {config.parameters:,} parameters on {len(pairs):,} texts, {pairs.total_pieces:,} pieces a pass")
    last = run.train(pairs, dev_pairs, report, plan.report_every, plan.stop)
    if not run.finished:
        return False
    trained = Trained(
        sources=tuple(one.name for one in plan.train),
        licence=plan.licence,
        texts=len(pairs),
        pieces=pairs.total_pieces,
        recipe=plan.recipe,
        last=last,
        threads=torch.get_num_threads(),
    )
    checkpoint = Checkpoint(
        CheckpointConfig(name=plan.name, network=config, encoder=plan.encoder),
        run.averaged().cpu(),
        tokenizer,
        manifold=_manifold(vectors, say),
    )
    sample = next(iter(dev_vectors.values()), vectors)
    export(plan, checkpoint, trained, {name: lines for name, (lines, _) in dev.items()}, dev_vectors, sample, say)
    return True


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
    scores, check, seen_check = {}, None, None
    config = checkpoint.config
    if dev:
        say("calibrating on held-out rows")
        decoder = GenerativeDecoder.load(plan.folder, plan.device)
        all_texts = [line for lines in dev.values() for line in lines]
        all_vectors = np.concatenate(list(vectors.values()))
        calibration, check = calibrate(decoder, all_texts, all_vectors)
        config = config.model_copy(update={"calibration": calibration})
        if plan.encoder:
            some = slice(None, None, -(-len(all_texts) // SEEN_ROWS))
            seen, seen_check = calibrate(decoder, all_texts[some], all_vectors[some], SEEN_WAYS, SEEN_FEATURES)
            config = config.model_copy(update={"seen_calibration": seen})
        save_checkpoint(plan.folder, replace(checkpoint, config=config))
        decoder = GenerativeDecoder.load(plan.folder, plan.device)
        encoder = shared_encoder(plan.encoder) if plan.encoder else None
        for name, lines in dev.items():
            say(f"scoring on {name}")
            rows = slice(plan.dev_rows)
            scores[name] = measure(decoder, lines[rows], vectors[name][rows], encoder).scores
    write_card(plan.folder, config, trained, scores, check, seen_check, checkpoint.manifold)


def _manifold(vectors: npt.NDArray[np.float32], say: Say) -> Manifold | None:
    try:
        return fit_manifold(vectors)
    except InputError as error:  # the network is worth keeping without it
        say(f"no row will say whether its vector is off the manifold: {error}")
        return None


def _tokenizer(run_folder: Path, lines: Sequence[str], vocab_size: int, say: Say) -> Tokenizer:
    path = run_folder / TOKENIZER_FILE
    if not path.exists():
        say("learning the pieces")
        Tokenizer.train(lines, vocab_size).save(path)
    return Tokenizer.load(path)


class Library:
    """Vectors of text sets, embedded once and kept in the folder, in half precision, if there is one."""

    def __init__(self, encoder: str | None, folder: Path | None, say: Say) -> None:
        self._name, self._folder, self._say = encoder, folder, say

    def vectors(self, one: TextSet, lines: Sequence[str], rows: int | None = None) -> npt.NDArray[np.float32]:
        """(N, D), of the first `rows` given. Raises InputError when there are neither vectors nor an encoder, or when
        their numbers do not agree."""
        if one.embeddings is not None:
            return _checked(np.load(one.embeddings, mmap_mode="r", allow_pickle=False)[:rows], lines, one)
        if self._name is None:
            raise InputError(f"{one.name} has texts but no embeddings; give them, or an encoder")
        kept = self._kept(lines)
        if kept is not None and kept.exists():
            return _checked(np.load(kept, allow_pickle=False), lines, one)
        self._say(f"embedding {len(lines):,} texts of {one.name} with {self._name}")
        encoder = shared_encoder(self._name)
        vectors = encoder.encode(lines, lambda done: self._say(f"  {done:,} of {len(lines):,}"))
        if kept is not None:
            vectors = vectors.astype(np.float16)
            np.save(kept, vectors)
        return vectors

    def _kept(self, lines: Sequence[str]) -> Path | None:
        if self._folder is None:
            return None
        digest = hashlib.sha256("\n".join([str(self._name), *lines]).encode()).hexdigest()[:16]
        return self._folder / f"embeddings-{digest}.npy"


def _checked(vectors: npt.NDArray[np.float32], lines: Sequence[str], one: TextSet) -> npt.NDArray[np.float32]:
    if vectors.ndim != 2 or vectors.shape[0] != len(lines) or vectors.dtype.kind != "f":
        raise InputError(
            f"{one.name}: {len(lines)} texts need floating-point embeddings of shape ({len(lines)}, dim), "
            f"not {vectors.dtype} of {vectors.shape}"
        )
    return vectors
