"""`unembed adapt` from end to end: pairs → map → composed network → sketch → proof → checkpoint with its card.

Nothing is written before it is known that the decoder works, and then all of it at once.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from unembed.errors import InputError
from unembed.models.decoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.ret import RET
from unembed.models.decoder.self_test import make_self_test
from unembed.models.decoder.sketch import Sketch
from unembed.models.evaluation.text_sets import Say, TextSet
from unembed.models.training.adapt.at_hand import PairsAtHand
from unembed.models.training.adapt.bases import Adaptable, choose_base
from unembed.models.training.adapt.card import Adapted, write_adapted_card
from unembed.models.training.adapt.composed import compose
from unembed.models.training.adapt.linear_map import Map
from unembed.models.training.adapt.mapped_sketch import map_sketch
from unembed.models.training.adapt.polish import Polish, polish
from unembed.models.training.adapt.proof import prove
from unembed.models.training.calibrate import Calibrated, calibrate_both
from unembed.models.training.data import pair
from unembed.models.training.optional_parts import manifold_or_none, sketch_or_none

LEAST_CALIBRATING = 200  # held-out texts; with fewer, the base's calibration is kept


@dataclass(frozen=True)
class Adaptation:
    """What to adapt, to what, where to."""

    folder: Path  # of the checkpoint; its name is the decoder's
    sets: tuple[TextSet, ...]
    encoder: str | None = None  # the embedder, if it is one that Unembed can run
    base: str | None = None  # a decoder's name, or its folder; None: the best of those that ship
    held_out: float = 0.1  # of the pairs
    minutes: float = 0.5  # of polishing, at most; 0: none
    licence: str = "not stated"
    seed: int = 0


def adapt(plan: Adaptation, say: Say) -> Adapted:
    """Writes the checkpoint. Raises InputError, with the numbers, where it does not work, and for a folder that is
    there."""
    if plan.folder.exists() and (not plan.folder.is_dir() or any(plan.folder.iterdir())):
        raise InputError(f"{plan.folder} is there already; expected a new folder for the decoder")
    return adapt_to(plan, PairsAtHand.read(plan.sets, plan.encoder, plan.held_out, plan.seed, say), say)


def adapt_to(plan: Adaptation, at_hand: PairsAtHand, say: Say) -> Adapted:
    """The same with pairs that were read."""
    begun = time.monotonic()
    base, mapped = choose_base(plan.base, at_hand, say)
    network = _polished(plan, base, mapped, at_hand, say)
    checkpoint = Checkpoint(
        CheckpointConfig(
            name=plan.folder.resolve().name,
            network=network.config,
            encoder=at_hand.embedder,
            calibration=base.checkpoint.config.calibration,
        ),
        network,
        base.checkpoint.tokenizer,
        manifold=manifold_or_none(at_hand.vectors, say),
        sketch=_sketch(base, at_hand, plan.seed, say),
    )
    plan.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adapting-", dir=plan.folder.parent) as apart:
        made = Path(apart) / plan.folder.name
        save_checkpoint(made, checkpoint)
        saved = load_checkpoint(made)  # in half precision
        tested = make_self_test(saved.network, saved.tokenizer, at_hand.held_out_vectors)
        checkpoint = replace(checkpoint, self_test=tested)
        save_checkpoint(made, checkpoint)
        decoder = GenerativeDecoder.load(made, "cpu")
        say(f"decoding {len(at_hand.held_out):,} held-out texts")
        proof = prove(decoder, at_hand.held_out, at_hand.held_out_vectors, plan.seed)
        proof.check(at_hand.pairs)
        calibrated = _calibrated(decoder, at_hand, say)
        if calibrated is not None:
            checkpoint = replace(checkpoint, config=calibrated.of(checkpoint.config))
            save_checkpoint(made, checkpoint)
        adapted = Adapted(
            sources=tuple(one.name for one in plan.sets),
            licence=plan.licence,
            base=base.origin,
            by_encoder=base.encoder,
            pairs=len(at_hand.texts),
            held_out=len(at_hand.held_out),
            cosine=mapped.cosine,
            apart=mapped.apart,
            proof=proof,
            seconds=time.monotonic() - begun,
            command=tuple(_command(plan, base)),
        )
        write_adapted_card(made, checkpoint, adapted, calibrated)
        if plan.folder.exists():
            plan.folder.rmdir()
        made.rename(plan.folder)
    return adapted


def _command(plan: Adaptation, base: Adaptable) -> list[str]:
    """What repeats it, with the base that was chosen."""
    words = ["unembed", "adapt"]
    words += [word for one in plan.sets for word in ("--set", one.word)]
    words += ["--encoder", plan.encoder] if plan.encoder else []
    words += ["--base", plan.base or base.origin.name]
    words += ["--held-out", f"{plan.held_out:g}", "--minutes", f"{plan.minutes:g}", "--seed", str(plan.seed)]
    words += ["--licence", plan.licence] if plan.licence != Adaptation.licence else []
    return [*words, "--out", str(plan.folder)]


def _polished(plan: Adaptation, base: Adaptable, mapped: Map, at_hand: PairsAtHand, say: Say) -> RET:
    """The base's network, used to mapped embeddings, behind the map; and used to the embeddings themselves."""
    network, tokenizer = base.checkpoint.network, base.checkpoint.tokenizer
    if not plan.minutes:
        return compose(network, mapped)
    longest = network.config.max_pieces
    how = Polish(seconds=30.0 * plan.minutes, seed=plan.seed)
    texts, apart, vectors = at_hand.texts, at_hand.held_out, at_hand.held_out_vectors
    say("polishing the network on mapped embeddings")
    left_out = pair(texts[: mapped.pairs], mapped.left_out, tokenizer, longest)[0]
    one = polish(network, left_out, pair(apart, mapped(vectors), tokenizer, longest)[0], how, say)
    say("polishing it on the embeddings")
    embedded = pair(texts, at_hand.vectors, tokenizer, longest)[0]
    two = polish(compose(one.network, mapped), embedded, pair(apart, vectors, tokenizer, longest)[0], how, say)
    say(f"held-out texts: {one.before:.3f} nats a piece before, {two.after:.3f} after")
    return two.network


def _sketch(base: Adaptable, at_hand: PairsAtHand, seed: int, say: Say) -> Sketch | None:
    if base.checkpoint.sketch is None:
        return sketch_or_none(at_hand.texts, at_hand.vectors, say)
    return map_sketch(base.checkpoint.sketch, at_hand.texts, at_hand.vectors, say, seed)


def _calibrated(decoder: GenerativeDecoder, at_hand: PairsAtHand, say: Say) -> Calibrated | None:
    if len(at_hand.held_out) < LEAST_CALIBRATING:
        say(
            f"{len(at_hand.held_out)} held-out texts are too few to calibrate on ({LEAST_CALIBRATING}): "
            "overall_quality is judged as the base's texts are"
        )
        return None
    say("calibrating on the held-out texts")
    return calibrate_both(decoder, at_hand.held_out, at_hand.held_out_vectors, seen=False)
