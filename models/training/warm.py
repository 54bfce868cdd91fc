"""A warm start: the pieces and the weights of a decoder that is there, for a run that goes on from them.

A network for embeddings of another dimension takes everything but the bridge and the gates: what the layers know of
language does not depend on the embedder. The bridge's LayerNorm is taken too, as it says how loud the layers expect the
bridge to be.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from torch import Tensor

from unembed.errors import CheckpointError, InputError
from unembed.models.decoder.checkpoint import WEIGHTS_FILE, Checkpoint, checkpoint_folder, load_checkpoint
from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.tokenizer import UNKNOWN
from unembed.models.training.data import Pairs
from unembed.models.training.recipe import StartingDecoder

BRIDGE: Final = "bridge.weight"
GATE: Final = "gate.weight"
MOST_UNKNOWN: Final = 0.1  # share of pieces; with more, the base's pieces are those of another script


@dataclass(frozen=True)
class WarmStart:
    base: StartingDecoder
    checkpoint: Checkpoint

    @classmethod
    def read(cls, name_or_folder: str | Path, architecture: str) -> WarmStart:
        """A decoder by name, or from a checkpoint's folder.

        Raises UnknownDecoderError for a name that is not known, CheckpointError for what is damaged, no network, or of
        another architecture.
        """
        checkpoint = load_checkpoint(name_or_folder)
        config = checkpoint.config
        if config.architecture != architecture:
            raise CheckpointError(
                f"{config.name!r} is a {config.architecture}, but the run trains a {architecture}; expected the same"
            )
        weights = (checkpoint_folder(name_or_folder) / WEIGHTS_FILE).read_bytes()
        return cls(StartingDecoder(config.name, hashlib.sha256(weights).hexdigest(), config.embedding_dim), checkpoint)

    def config(self, **numbers: int) -> NetworkConfig:
        """The base's network, but for `numbers`; at another dimension, with the gates that fit there."""
        own = self.checkpoint.config.network.model_dump()
        if not self.fits(numbers.get("embedding_dim", self.base.embedding_dim)):
            del own["gated_units"]
        return NetworkConfig.of(**(own | numbers))

    def fits(self, embedding_dim: int) -> bool:
        """Whether the bridge is taken too."""
        return self.base.embedding_dim == embedding_dim

    def weights(self, config: NetworkConfig) -> dict[str, Tensor]:
        """By name, for a network of this `config`; gates that the base has not, or in other number, begin fresh."""
        state = self.checkpoint.network.state_dict()
        fresh = set() if self.fits(config.embedding_dim) else {BRIDGE, GATE}
        if config.gated_units != self.checkpoint.config.network.gated_units:
            fresh.add(GATE)
        return {name: value for name, value in state.items() if name not in fresh}

    def check_pieces(self, pairs: Pairs) -> float:
        """The share of pieces that the base cannot write. Raises InputError when they are too many to be of use."""
        share = float(np.mean(pairs.pieces == UNKNOWN))
        if share > MOST_UNKNOWN:
            raise InputError(
                f"{self.base.name!r} does not know {share:.0%} of the texts' pieces; expected at most "
                f"{MOST_UNKNOWN:.0%}, so train without it and learn the pieces from the texts"
            )
        return share
