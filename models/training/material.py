"""What a run learns from: texts, their vectors and their pieces, read, checked and cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

from unembed.errors import CheckpointError, InputError
from unembed.models.decoder.checkpoint import TOKENIZER_FILE
from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.tokenizer import REPLACEMENT, Tokenizer
from unembed.models.encoders.registry import shared_encoder
from unembed.models.evaluation.text_sets import Library, Say
from unembed.models.training.augment import augment
from unembed.models.training.checked_sets import SetRecord, read_checked
from unembed.models.training.data import Pairs, check_alphabet, pair
from unembed.models.training.evened import Even
from unembed.models.training.greedy import HeldOut
from unembed.models.training.loop import REMEDY
from unembed.models.training.plan import Plan
from unembed.models.training.recipe import StartingDecoder
from unembed.models.training.warm import WarmStart


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
    records: tuple[SetRecord, ...]  # of the sets that all this was read from
    embedder: str | None  # whose vectors they are
    base: StartingDecoder | None
    weights: dict[str, Tensor]  # of the base

    @cached_property
    def even(self) -> Even:
        """The coordinates in which what reads the embedding is learnt."""
        return Even.of(self.pairs.embeddings)


def gather(plan: Plan, say: Say) -> Material:
    """Reads the texts and their vectors, or embeds them, and cuts the texts into the base's pieces or their own."""
    run_folder = plan.folder / "run"
    run_folder.mkdir(parents=True, exist_ok=True)
    library = Library(plan.encoder, run_folder, say)
    fresh = Library(plan.encoder, None, say)  # in float32, as `unembed evaluate` embeds them
    sets = read_checked(plan.train, plan.dev, library, fresh, plan.check, say)
    lines, vectors = sets.texts, sets.vectors
    held_out = {one.name: HeldOut(one.texts, one.vectors) for one in sets.dev}
    warm = WarmStart.read(plan.start_from, plan.architecture) if plan.start_from else None
    config, tokenizer, warm = _network(plan, vectors.shape[1], lines, warm, say)
    pairs, left_out = pair(lines, vectors, tokenizer, plan.max_pieces)
    if left_out:
        say(f"leaving out {left_out:,} texts that have more than {plan.max_pieces} pieces")
    if rare := check_alphabet(pairs, lines, tokenizer):
        say(f"{rare:.2%} of the pieces are characters too rare to have one: they will be written as {REPLACEMENT}")
    if warm:
        _tell(warm, config, say)
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
        records=sets.records,
        embedder=library.embedder,
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
