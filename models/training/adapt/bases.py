"""What is adapted: a network that was trained to be, or a decoder that is named.

The base that ships reads maps of many embedders (docs/lab.md, section 52). Its space is that of its sketch: words and
pairs of words, by what they mean and by which they are. So no embedder is needed to map anything into it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
from unembed.models.training.adapt.linear_map import MOST_PAIRS, Map, fit_map
from unembed.models.training.recipe import StartingDecoder
from unembed.models.training.warm import WarmStart

TO_ADAPT: Final = SHIPPED / "to_adapt" / "ret-v21-base"
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
        if (missing := self.checkpoint.config.encoder) is not None:
            say(
                f"estimating the embeddings of {len(texts):,} texts for {name} by its sketch: {missing} is not "
                "installed, and the decoder would be better with it"
            )
        return sketch.vectors(texts)


def choose_base(name: str | None, at_hand: PairsAtHand, say: Say) -> tuple[Adaptable, Map]:
    """The base of this name, or the one that was made to be adapted, and a map fitted to the pairs. Raises InputError
    where the base cannot write the texts, or the map is no better than chance, MissingExtraError where it is not
    installed."""
    base = Adaptable(WarmStart.read(_place_of(name), RET_V21))
    if not base.warm.suits(at_hand.texts):
        raise _unwritable(base, at_hand)
    ours = base.embed(at_hand.texts[:MOST_PAIRS], say)
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


def _place_of(name: str | None) -> str | Path:
    """Where the base is. The one that was made to be adapted is no decoder: it lies apart from those that are."""
    if name not in (None, TO_ADAPT.name):
        return name
    if not TO_ADAPT.is_dir():
        raise MissingExtraError.of("unembed_weights", "weights")
    return TO_ADAPT


def _folders(without: Collection[str]) -> list[Path]:
    folders = [path.parent for path in sorted(SHIPPED.glob(f"*/{CONFIG_FILE}"))]
    return [folder for folder in folders if folder.name not in without]


def _unwritable(base: Adaptable, at_hand: PairsAtHand) -> InputError:
    pieces = [piece for ids in base.checkpoint.tokenizer.encode_many(at_hand.texts[:1000]) for piece in ids]
    share = pieces.count(UNKNOWN) / max(1, len(pieces))
    return InputError(
        f"{share:.0%} of the texts' pieces are unknown to {base.origin.name}, which would be adapted; expected texts "
        "in its script, or `unembed train`, which learns the pieces from them"
    )
