"""A checkpoint: safetensors + config.json + tokenizer.json, saved and loaded together. No pickle.

With it, where they were made: a self-test, what real vectors look like, and a sketch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from unembed.errors import CheckpointError
from unembed.models.decoder.card import CARD_FILE as CARD_FILE
from unembed.models.decoder.catalog import CONFIG_FILE, find, read_config
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.manifold import Manifold
from unembed.models.decoder.quality import SKETCH_FEATURES
from unembed.models.decoder.ret import RET
from unembed.models.decoder.self_test import SelfTest
from unembed.models.decoder.sketch import Sketch
from unembed.models.decoder.tokenizer import Tokenizer

WEIGHTS_FILE: Final = "model.safetensors"
TOKENIZER_FILE: Final = "tokenizer.json"


@dataclass(frozen=True)
class Checkpoint:
    config: CheckpointConfig
    network: RET  # float32, on the CPU, in eval mode
    tokenizer: Tokenizer
    self_test: SelfTest | None = None
    manifold: Manifold | None = None
    sketch: Sketch | None = None


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Weights are kept in half precision: they were trained with more noise than it adds."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().half().contiguous().cpu() for name, value in checkpoint.network.state_dict().items()}
    # Not `save_file`, which gives its file to its owner alone: a worker may run as another user than who trained.
    (folder / WEIGHTS_FILE).write_bytes(save(state, metadata={"format": "pt"}))
    checkpoint.tokenizer.save(folder / TOKENIZER_FILE)
    if checkpoint.self_test is None:
        SelfTest.remove(folder)  # that of other weights
    else:
        checkpoint.self_test.save(folder)
    if checkpoint.manifold is None:
        Manifold.remove(folder)
    else:
        checkpoint.manifold.save(folder)
    if checkpoint.sketch is None:
        Sketch.remove(folder)
    else:
        checkpoint.sketch.save(folder)
    (folder / CONFIG_FILE).write_text(checkpoint.config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def checkpoint_folder(name_or_folder: str | Path) -> Path:
    """Of a decoder by name, or the folder itself (a Path, or a string with a path separator in it).

    Raises UnknownDecoderError for a name that is not known.
    """
    is_folder = isinstance(name_or_folder, Path) or "/" in name_or_folder
    return Path(name_or_folder) if is_folder else find(str(name_or_folder)).path


def network_config(folder: Path) -> CheckpointConfig:
    """config.json of a network's folder. Raises CheckpointError, also when it holds another architecture."""
    config = read_config(folder)
    if not isinstance(config, CheckpointConfig):
        raise CheckpointError(f"{folder} holds a {config.architecture}; expected a network")
    return config


def load_checkpoint(name_or_folder: str | Path) -> Checkpoint:
    """A decoder by name, or from its folder, as `checkpoint_folder` finds it.

    Raises UnknownDecoderError for a name that is not known, CheckpointError for files that are missing, damaged or do
    not fit together.
    """
    folder = checkpoint_folder(name_or_folder)
    config = network_config(folder)
    try:
        tokenizer = Tokenizer.load(folder / TOKENIZER_FILE)
    except Exception as error:  # the tokenizers library raises plain Exception
        raise CheckpointError(f"{folder / TOKENIZER_FILE} cannot be read: {error}") from None
    if tokenizer.vocab_size != config.network.vocab_size:
        raise CheckpointError(
            f"{folder}: tokenizer.json has {tokenizer.vocab_size} pieces, the network {config.network.vocab_size}"
        )
    network = RET(config.network)
    try:
        state = load_file(folder / WEIGHTS_FILE)
        network.load_state_dict({name: value.to(torch.float32) for name, value in state.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{folder / WEIGHTS_FILE} cannot be loaded: {error}") from None
    self_test = SelfTest.load(folder, config.network.embedding_dim)
    manifold = Manifold.load(folder, config.network.embedding_dim)
    sketch = Sketch.load(folder, config.network.embedding_dim)
    if sketch is None and _needs_sketch(config):
        raise CheckpointError(
            f"{folder} has no sketch, but its calibration uses one; expected sketch.json and sketch.safetensors, as "
            "`unembed add-sketch` makes them"
        )
    return Checkpoint(config, network.eval(), tokenizer, self_test, manifold, sketch)


def _needs_sketch(config: CheckpointConfig) -> bool:
    judges = filter(None, (config.calibration, config.seen_calibration))
    return any(set(SKETCH_FEATURES) & set(judge.features) for judge in judges)
