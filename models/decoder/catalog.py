"""Which decoders there are. Free of torch, so that the API can refuse an unknown name or a wrong dimension.

A checkpoint is a folder: model.safetensors, config.json, tokenizer.json, README.md (the model card).
Those that ship live in `weights/`; `UNEMBED_DECODERS` names a folder with more. A decoder's name is its folder's name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from models.decoder.config import CheckpointConfig
from unembed.errors import CheckpointError, UnknownDecoderError

SHIPPED: Final = Path(__file__).parent / "weights"
CONFIG_FILE: Final = "config.json"


@dataclass(frozen=True)
class Entry:
    """A decoder that can be asked for by name."""

    name: str
    path: Path
    config: CheckpointConfig

    @property
    def embedding_dim(self) -> int:
        return self.config.network.embedding_dim

    @property
    def architecture(self) -> str:
        return self.config.network.architecture

    @property
    def encoder(self) -> str | None:
        return self.config.encoder


def _folders() -> dict[str, Path]:
    """Checkpoint folders by name; a user's own go before those that ship."""
    roots = [SHIPPED]
    if extra := os.environ.get("UNEMBED_DECODERS"):
        roots.append(Path(extra))
    found: dict[str, Path] = {}
    for root in roots:
        if root.is_dir():
            found |= {path.parent.name: path.parent for path in sorted(root.glob(f"*/{CONFIG_FILE}"))}
    return found


def names() -> list[str]:
    return sorted(_folders())


def find(name: str) -> Entry:
    """Raises UnknownDecoderError, listing the names there are, or CheckpointError when its config.json is damaged."""
    folders = _folders()
    if name not in folders:
        raise UnknownDecoderError(f"unknown decoder {name!r}; there are: {', '.join(sorted(folders)) or 'none'}")
    return Entry(name, folders[name], read_config(folders[name]))


def read_config(folder: Path) -> CheckpointConfig:
    """config.json of a checkpoint folder. Raises CheckpointError, naming the file and what is wrong with it."""
    path = folder / CONFIG_FILE
    try:
        return CheckpointConfig.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {CONFIG_FILE}") from None
    except ValidationError as error:
        raise CheckpointError(f"{path} is not a checkpoint's config: {error.errors()[0]['msg']}") from None
