"""Which decoder to adapt: the one whose network, behind a map fitted to some of the pairs, finds held-out texts
likeliest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from unembed.errors import InputError, MissingExtraError
from unembed.models.decoder.catalog import CONFIG_FILE, SHIPPED
from unembed.models.decoder.checkpoint import Checkpoint
from unembed.models.decoder.config import RET_V21
from unembed.models.decoder.sketch import Sketch
from unembed.models.decoder.tokenizer import UNKNOWN
from unembed.models.decoder.vectors import Vectors
from unembed.models.encoders.registry import is_installed, shared_encoder
from unembed.models.evaluation.text_sets import Say
from unembed.models.training.adapt.at_hand import PairsAtHand
from unembed.models.training.adapt.composed import compose
from unembed.models.training.adapt.linear_map import MOST_PAIRS, Map, fit_map
from unembed.models.training.data import pair
from unembed.models.training.loop import mean_loss
from unembed.models.training.recipe import StartingDecoder
from unembed.models.training.warm import WarmStart

TRIED: Final = 500  # pairs by which the base is chosen
LEAST_GAIN: Final = 0.1  # of a mapped embedding's cosine with the true one, over that with another text's


@dataclass(frozen=True, eq=False)
class Adaptable:
    """A decoder that may be adapted."""

    warm: WarmStart

    @property
    def checkpoint(self) -> Checkpoint:
        return self.warm.checkpoint

    @property
    def origin(self) -> StartingDecoder:
        return self.warm.base

    @property
    def encoder(self) -> str | None:
        """The embedder whose space it reads, where that is installed."""
        name = self.checkpoint.config.encoder
        return name if name is not None and is_installed(name) else None

    def embed(self, texts: list[str], say: Say) -> Vectors:
        """The texts in the space that the base reads (N, E): by its embedder, or estimated by its sketch.

        Raises MissingExtraError where there is neither.
        """
        name, sketch = self.origin.name, self.checkpoint.sketch
        if self.encoder is not None:
            say(f"embedding {len(texts):,} texts for {name} with {self.encoder}")
            return shared_encoder(self.encoder).encode(texts, lambda done: say(f"  {done:,} of {len(texts):,}"))
        if sketch is None:
            raise MissingExtraError(
                f"{name} can be adapted only where its embedder is installed, as it has no sketch: "
                f"{self.checkpoint.config.encoder}"
            )
        say(
            f"estimating the embeddings of {len(texts):,} texts for {name} by its sketch: "
            f"{self.checkpoint.config.encoder} is not installed, and the decoder would be better with it"
        )
        return sketch.vectors(texts)

    def loss(self, mapped: Map, at_hand: PairsAtHand) -> float:
        """Nats a text of the held-out ones, of the network behind a map."""
        network, tokenizer = self.checkpoint.network, self.checkpoint.tokenizer
        held_out, _ = pair(at_hand.held_out, at_hand.held_out_vectors, tokenizer, network.config.max_pieces)
        return mean_loss(compose(network, mapped), held_out) * held_out.total_pieces / len(held_out)


def choose_base(
    name: str | None, at_hand: PairsAtHand, say: Say, without: Collection[str] = ()
) -> tuple[Adaptable, Map]:
    """The base of this name, or the best that ships, and a map fitted to the pairs. Raises InputError where the base
    cannot write the texts, or the map is no better than chance, MissingExtraError where no decoder is installed."""
    bases = [_read(name, at_hand)] if name else _shipped(at_hand, without)
    # With its sketch's estimates in place of its embedder, a base is much worse (docs/lab.md, section 51).
    bases = [one for one in bases if one.encoder] or bases
    if len(bases) == 1:
        base, ours = bases[0], bases[0].embed(at_hand.texts[:MOST_PAIRS], say)
    else:
        base, ours = _likeliest(bases, at_hand, say)
        if more := at_hand.texts[len(ours) : MOST_PAIRS]:
            ours = np.concatenate([ours, base.embed(more, say)])
    mapped = fit_map(at_hand.vectors[: len(ours)], ours)
    say(
        f"mapped to the space of {base.origin.name}: cosine {mapped.cosine:.3f} on texts left out, "
        f"{mapped.apart:.3f} with other texts"
    )
    if mapped.cosine - mapped.apart < LEAST_GAIN:
        raise InputError(
            f"the embeddings cannot be mapped: on texts left out, a mapped embedding has a cosine of "
            f"{mapped.cosine:.3f} with the one of its text and {mapped.apart:.3f} with that of another; expected a "
            f"difference of at least {LEAST_GAIN}, so each text's own embedding beside it"
        )
    return base, mapped


def other_sketches(base: Adaptable, at_hand: PairsAtHand, without: Collection[str] = ()) -> dict[str, Sketch]:
    """By name, those of the other decoders that ship and can write the texts; in order."""
    if not SHIPPED.is_dir():
        return {}
    found = [WarmStart.read(folder, RET_V21) for folder in _folders(without) if folder.name != base.origin.name]
    sketches = {one.base.name: one.checkpoint.sketch for one in found if one.suits(at_hand.texts)}
    return {name: sketch for name, sketch in sketches.items() if sketch is not None}


def _likeliest(bases: list[Adaptable], at_hand: PairsAtHand, say: Say) -> tuple[Adaptable, Vectors]:
    """The base that finds held-out texts likeliest, and its embeddings of the first texts, by which it was found."""
    embedded, losses = list[Vectors](), list[float]()
    for one in bases:
        embedded.append(one.embed(at_hand.texts[:TRIED], say))
        mapped = fit_map(at_hand.vectors[:TRIED], embedded[-1])
        losses.append(one.loss(mapped, at_hand))
        say(f"  {one.origin.name}: cosine {mapped.cosine:.3f}, {losses[-1]:.1f} nats a text")
    best = int(np.argmin(losses))
    return bases[best], embedded[best]


def _read(name: str, at_hand: PairsAtHand) -> Adaptable:
    base = Adaptable(WarmStart.read(name, RET_V21))
    if not base.warm.suits(at_hand.texts):
        raise _unwritable([base], at_hand)
    return base


def _shipped(at_hand: PairsAtHand, without: Collection[str]) -> list[Adaptable]:
    if not SHIPPED.is_dir():
        raise MissingExtraError.of("unembed_weights", "weights")
    bases = [Adaptable(WarmStart.read(folder, RET_V21)) for folder in _folders(without)]
    suited = [one for one in bases if one.warm.suits(at_hand.texts)]
    if not suited:
        raise _unwritable(bases, at_hand)
    return suited


def _folders(without: Collection[str]) -> list[Path]:
    folders = [path.parent for path in sorted(SHIPPED.glob(f"*/{CONFIG_FILE}"))]
    return [folder for folder in folders if folder.name not in without]


def _unwritable(bases: list[Adaptable], at_hand: PairsAtHand) -> InputError:
    sample = at_hand.texts[:1000]
    shares = []
    for one in bases:
        pieces = [piece for ids in one.checkpoint.tokenizer.encode_many(sample) for piece in ids]
        shares.append(f"{one.origin.name} {pieces.count(UNKNOWN) / max(1, len(pieces)):.0%}")
    return InputError(
        f"the texts cannot be written with the pieces of a decoder that is there; unknown to each are: "
        f"{', '.join(shares)}; expected texts in its script, or `unembed train`, which learns the pieces from them"
    )
