"""`unembed adapt` from end to end: pairs → map → composed network → sketch → proof → checkpoint with its card.

Nothing is written before it is known that the decoder works, and then all of it at once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from unembed.errors import InputError
from unembed.models.decoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.ret import RET
from unembed.models.decoder.self_test import make_self_test
from unembed.models.decoder.sketch import Sketch
from unembed.models.evaluation.text_sets import Say, TextSet
from unembed.models.training.adapt.at_hand import PairsAtHand
from unembed.models.training.adapt.bases import Adaptable, choose_base, other_sketches
from unembed.models.training.adapt.card import Adapted, write_adapted_card
from unembed.models.training.adapt.composed import compose
from unembed.models.training.adapt.forward import Forward
from unembed.models.training.adapt.linear_map import Map
from unembed.models.training.adapt.mapped_sketch import Guesses, map_sketch
from unembed.models.training.adapt.more_texts import more_texts
from unembed.models.training.adapt.polish import MOST_PASSES, Estimated, Polish, polish
from unembed.models.training.adapt.proof import prove
from unembed.models.training.calibrate import Calibrated, calibrate_both
from unembed.models.training.data import pair
from unembed.models.training.expectation import expected_of_adapting
from unembed.models.training.optional_parts import manifold_or_none, sketch_or_none
from unembed.models.training.recipe import Check

RATE_OF_PAIRS: Final = 3e-4  # where there are only pairs: at more, their few texts are learnt by heart
SURE: Final = 0.65  # of the variance explained: poorer estimates lead astray at the usual rates (docs/lab.md)
GENTLE: Final = (3e-4, 1.5e-3)  # the rates for these: of the network, and of what reads the embedding
PIECES_A_SECOND = 15_000  # that a core learns from, about; counted, not timed, so that a run can be repeated
LEAST_LEFT: Final = 0.2  # of the pieces, for texts without embeddings; with less, the pairs teach more
LEAST_CALIBRATING = 200  # held-out texts; with fewer, the base's calibration is kept


@dataclass(frozen=True)
class Adaptation:
    """What to adapt, to what, where to."""

    folder: Path  # of the checkpoint; its name is the decoder's
    sets: tuple[TextSet, ...]
    encoder: str | None = None  # the embedder, if it is one that Unembed can run
    base: str | None = None  # a decoder's name, or its folder; None: the best of those that ship
    held_out: float = 0.1  # of the pairs
    texts: tuple[TextSet, ...] = ()  # like those of the sets, without embeddings
    minutes: float = 1.0  # of polishing, about, on one core; 0: none
    licence: str = "not stated"
    seed: int = 0
    check: Check = Check.FIRST
    without: tuple[str, ...] = ()  # decoders that ship and are not to be used: for measuring what others are worth


def adapt(plan: Adaptation, say: Say) -> Adapted:
    """Writes the checkpoint. Raises InputError, with the numbers, where it does not work, and for a folder that is
    there."""
    if plan.folder.exists() and (not plan.folder.is_dir() or any(plan.folder.iterdir())):
        raise InputError(f"{plan.folder} is there already; expected a new folder for the decoder")
    return adapt_to(plan, look(plan, say), say)


def look(plan: Adaptation, say: Say) -> PairsAtHand:
    """Reads and checks what would be adapted to, and says what to expect of so many."""
    at_hand = PairsAtHand.read(plan.sets, plan.encoder, plan.held_out, plan.seed, say, plan.check)
    expected = f"a word F1 of about {expected_of_adapting(at_hand.pairs):.2f}"
    say(f"{at_hand.pairs:,} pairs: expect {expected} if they are everyday sentences (an estimate)")
    return at_hand


def adapt_to(plan: Adaptation, at_hand: PairsAtHand, say: Say) -> Adapted:
    """The same with pairs that were read."""
    begun = time.monotonic()
    base, mapped = choose_base(plan.base, at_hand, say)
    others = other_sketches(base, at_hand, plan.without)
    own = base.checkpoint.sketch
    sketches = [*([own] if own else []), *others.values()]
    learnt = _learnt(plan, base, mapped, at_hand, sketches, say)
    network = learnt.network
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
        sketch=_sketch(own, list(others.values()), at_hand, learnt.guesses, say),
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
            more_texts=len(learnt.guesses.texts) if learnt.guesses else 0,
            explained=learnt.explained,
            other_sketches=tuple(others),
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
    words += [word for one in plan.texts for word in ("--texts", one.word)]
    words += ["--base", plan.base or base.origin.name]
    words += ["--held-out", f"{plan.held_out:g}", "--minutes", f"{plan.minutes:g}", "--seed", str(plan.seed)]
    words += ["--licence", plan.licence] if plan.licence != Adaptation.licence else []
    return [*words, "--out", str(plan.folder)]


@dataclass(frozen=True, eq=False)
class _Learnt:
    network: RET
    guesses: Guesses | None = None
    explained: float | None = None  # of the embeddings' variance, where others are estimated


def _learnt(
    plan: Adaptation, base: Adaptable, mapped: Map, at_hand: PairsAtHand, sketches: Sequence[Sketch], say: Say
) -> _Learnt:
    """The base's network behind the map, used to the embeddings of the pairs and to those that are estimated."""
    composed, tokenizer = compose(base.checkpoint.network, mapped), base.checkpoint.tokenizer
    if not plan.minutes:
        return _Learnt(composed)
    longest = composed.config.max_pieces
    own = pair(at_hand.texts, at_hand.vectors, tokenizer, longest)[0]
    apart = pair(at_hand.held_out, at_hand.held_out_vectors, tokenizer, longest)[0]
    how = Polish(round(60.0 * PIECES_A_SECOND * plan.minutes), seed=plan.seed)
    more = more_texts(plan.texts, at_hand.texts, at_hand.held_out, plan.seed, say)
    left = how.pieces - MOST_PASSES * own.total_pieces
    estimated, found = None, _Learnt(composed)
    if more and left < LEAST_LEFT * how.pieces:
        say(f"the pairs are enough to learn from for {plan.minutes:g} minutes; with more, --texts would count too")
    elif more:
        used = more[: round(left * len(own) / own.total_pieces)]
        say(f"learning from {len(used):,} texts without embeddings too, of which these are estimated")
        forward = Forward.fit(at_hand.texts, at_hand.vectors, sketches)
        say(f"estimating their embeddings: {forward.explained:.0%} of the variance is explained on texts left out")
        guesses = Guesses(used, forward(used))
        estimated = Estimated(pair(*guesses, tokenizer, longest)[0], forward.errors)
        found = _Learnt(composed, guesses, forward.explained)
    say("polishing the network on the embeddings")
    polished = polish(composed, own, estimated, apart, paced(how, found.explained), say)
    say(f"held-out texts: {polished.before:.3f} nats a piece before, {polished.after:.3f} after")
    return replace(found, network=polished.network)


def paced(how: Polish, explained: float | None) -> Polish:
    """The same, at the rates for pairs alone (None), or for estimates that explain so much of the variance."""
    if explained is None:
        return replace(how, rate=RATE_OF_PAIRS)
    return how if explained >= SURE else replace(how, rate=GENTLE[0], reading_rate=GENTLE[1])


def _sketch(
    base: Sketch | None, others: Sequence[Sketch], at_hand: PairsAtHand, guesses: Guesses | None, say: Say
) -> Sketch | None:
    if base is None:
        return sketch_or_none(at_hand.texts, at_hand.vectors, say)
    return map_sketch(base, at_hand.texts, at_hand.vectors, say, others, guesses)


def _calibrated(decoder: GenerativeDecoder, at_hand: PairsAtHand, say: Say) -> Calibrated | None:
    if len(at_hand.held_out) < LEAST_CALIBRATING:
        say(
            f"{len(at_hand.held_out)} held-out texts are too few to calibrate on ({LEAST_CALIBRATING}): "
            "overall_quality is judged as the base's texts are"
        )
        return None
    say("calibrating on the held-out texts")
    return calibrate_both(decoder, at_hand.held_out, at_hand.held_out_vectors, seen=False)
