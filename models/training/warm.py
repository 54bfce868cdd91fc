"""A warm start: the pieces and the weights of a decoder that is there, for a run that goes on from them.

A network for embeddings of another dimension takes everything but the bridge and the gates: what the layers know of
language does not depend on the embedder. The bridge's LayerNorm is taken too, as it says how loud the layers expect the
bridge to be.

Texts with characters that the base cannot write, such as German ones with an English base, get pieces of their own. The
vectors of those that the base has too are taken over, as is the rest of the network.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from unembed.errors import CheckpointError
from unembed.models.decoder.checkpoint import WEIGHTS_FILE, Checkpoint, checkpoint_folder, load_checkpoint
from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.tokenizer import UNKNOWN, Tokenizer
from unembed.models.training.recipe import StartingDecoder

BRIDGE: Final = "bridge.weight"
GATE: Final = "gate.weight"
PIECES: Final = "pieces.weight"
MOST_UNKNOWN: Final = 0.001  # share of the base's pieces of the texts: with more, they get their own
_DIGEST: Final = re.compile(r"(?P<name>.+)@(?P<digest>[0-9a-f]{8,64})")
LOOKED_AT: Final = 20_000  # texts at most, at even steps


@dataclass(frozen=True)
class WarmStart:
    base: StartingDecoder
    checkpoint: Checkpoint
    tokenizer: Tokenizer | None = None  # of the texts' own pieces; None: the base's suit them

    @classmethod
    def read(cls, name_or_folder: str | Path, architecture: str) -> WarmStart:
        """A decoder by name, or from a checkpoint's folder; with `@` and the beginning of its weights' sha256, that one
        alone.

        Raises UnknownDecoderError for a name that is not known, CheckpointError for what is damaged, no network, of
        another architecture, or of other weights.
        """
        name_or_folder, digest = _split_digest(os.fspath(name_or_folder))
        checkpoint = load_checkpoint(name_or_folder)
        config = checkpoint.config
        if config.architecture != architecture:
            raise CheckpointError(
                f"{config.name!r} is a {config.architecture}, but the run trains a {architecture}; expected the same"
            )
        weights = (checkpoint_folder(name_or_folder) / WEIGHTS_FILE).read_bytes()
        found = hashlib.sha256(weights).hexdigest()
        if not found.startswith(digest):
            raise CheckpointError(
                f"the weights of {config.name!r} have the sha256 {found[:16]}…, not {digest}…; expected those that the "
                "run was started from"
            )
        return cls(StartingDecoder(config.name, found, config.embedding_dim), checkpoint)

    def config(self, **numbers: int) -> NetworkConfig:
        """The base's network, but for `numbers`; at another dimension, with the gates that fit there."""
        own = self.checkpoint.config.network.model_dump()
        if not self.fits(numbers.get("embedding_dim", self.base.embedding_dim)):
            del own["gated_units"]
        return NetworkConfig.of(**(own | numbers))

    def fits(self, embedding_dim: int) -> bool:
        """Whether the bridge is taken too."""
        return self.base.embedding_dim == embedding_dim

    def suits(self, texts: Sequence[str]) -> bool:
        """Whether the base can write them with its own pieces."""
        pieces = self.checkpoint.tokenizer.encode_many(texts[:: max(1, len(texts) // LOOKED_AT)])
        unknown = sum(ids.count(UNKNOWN) for ids in pieces)
        return unknown <= MOST_UNKNOWN * sum(map(len, pieces))

    def with_pieces(self, tokenizer: Tokenizer) -> WarmStart:
        """The same for texts that have pieces of their own."""
        theirs = self.checkpoint.tokenizer.pieces
        known = sum(piece in theirs for piece in tokenizer.pieces)
        return replace(self, base=replace(self.base, known_pieces=known), tokenizer=tokenizer)

    def weights(self, config: NetworkConfig) -> dict[str, Tensor]:
        """By name, for a network of this `config`; gates that the base has not, or in other number, begin fresh."""
        state = self.checkpoint.network.state_dict()
        fresh = set() if self.fits(config.embedding_dim) else {BRIDGE, GATE}
        if config.gated_units != self.checkpoint.config.network.gated_units:
            fresh.add(GATE)
        if self.tokenizer is not None:
            state[PIECES] = self._vectors_of(self.tokenizer, state[PIECES])
        return {name: value for name, value in state.items() if name not in fresh}

    def _vectors_of(self, tokenizer: Tokenizer, theirs: Tensor) -> Tensor:
        """Of other pieces (V, H): the base's, of the pieces (B, H) that it has too; the rest is drawn, as long."""
        generator = torch.Generator().manual_seed(0)
        ours = torch.randn((tokenizer.vocab_size, theirs.shape[1]), generator=generator) * theirs.std()
        known = self.checkpoint.tokenizer.pieces
        for piece, number in tokenizer.pieces.items():
            if piece in known:
                ours[number] = theirs[known[piece]]
        return ours


def _split_digest(name_or_folder: str) -> tuple[str, str]:
    """`NAME@0123456789abcdef` in two."""
    match = _DIGEST.fullmatch(name_or_folder)
    if match is None or Path(name_or_folder).exists():
        return name_or_folder, ""
    return match["name"], match["digest"]
