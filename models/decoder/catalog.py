"""Which decoders there are. Free of torch, so that the API can refuse an unknown name or a wrong dimension.

A checkpoint is a folder with a config.json that names its architecture, and beside it what that architecture needs: for
a network model.safetensors, tokenizer.json and README.md (the model card), for a phrase bank its phrases and vectors.
Those that ship live in `weights/`, or in the package unembed_weights; `UNEMBED_DECODERS` names a folder with more.
A decoder's name is its folder's name.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError

from unembed.boundary import describe, did_you_mean
from unembed.errors import CheckpointError, DimensionError, UnknownDecoderError
from unembed.models.decoder.config import HYBRID, PHRASE_BANK, AnyConfig, BankConfig, CheckpointConfig, HybridConfig
from unembed.models.decoder.needs import check_needs
from unembed.schemas import DecodeOptions, DecoderInfo


def _shipped() -> Path:
    """A checkout has the weights in this folder; otherwise they are a package of their own, which may be missing."""
    here = Path(__file__).parent / "weights"
    spec = None if here.is_dir() else find_spec("unembed_weights")
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else here


SHIPPED: Final = _shipped()
CONFIG_FILE: Final = "config.json"
SKETCH_FILE: Final = "sketch.json"
TRAIN: Final = "unembed train --set mine=texts.txt,embeddings.npy --out mine"
INSTALL_WEIGHTS: Final = "pip install 'unembed[weights]'"


def _kind(config: Any) -> str:
    """The architecture at the top of a config; a network's stands further in."""
    return str(config.get("architecture", "network")) if isinstance(config, dict) else "network"


_CONFIG: Final[TypeAdapter[AnyConfig]] = TypeAdapter(
    Annotated[
        Annotated[CheckpointConfig, Tag("network")]
        | Annotated[BankConfig, Tag(PHRASE_BANK)]
        | Annotated[HybridConfig, Tag(HYBRID)],
        Discriminator(_kind),
    ]
)


@dataclass(frozen=True)
class Entry:
    """A decoder that can be asked for by name."""

    name: str
    path: Path
    config: AnyConfig

    @property
    def embedding_dim(self) -> int:
        return self.config.embedding_dim

    @property
    def architecture(self) -> str:
        return self.config.architecture

    def require_dim(self, dim: int) -> None:
        """Raises DimensionError for vectors of another dimension, naming the decoders that there are."""
        if dim == self.embedding_dim:
            return
        there = _dimensions()
        readers = [name for name, reads in there.items() if reads == dim]
        if readers:
            advice = f"--decoder {readers[0]} reads {dim}"
        else:
            listed = ", ".join(f"{name}: {reads}" for name, reads in there.items())
            advice = f"no decoder reads {dim} ({listed}); to train one: {TRAIN}"
        raise DimensionError.between(dim, self.embedding_dim, f"the decoder {self.name!r}", advice)

    @property
    def encoder(self) -> str | None:
        return self.config.encoder

    @property
    def info(self) -> DecoderInfo:
        """What a job may know of it, without the hash of its checkpoint."""
        return DecoderInfo(
            name=self.name,
            embedding_dim=self.embedding_dim,
            architecture=self.architecture,
            encoder=self.encoder,
        )

    @property
    def checkpoint(self) -> str:
        """A sha256 that changes when anything of the decoder does, its parts included. It reads all of it: some MB."""
        digest = hashlib.sha256()
        for path in sorted(self.path.iterdir()):
            if path.is_file():
                digest.update(f"{path.name}\0{_sha256(path)}\0".encode())
        if isinstance(self.config, HybridConfig):
            for name in filter(None, (self.config.decoder, self.config.bank)):
                part = part_of(self.path, name)
                digest.update(Entry(name, part, read_config(part)).checkpoint.encode())
        return digest.hexdigest()

    def check_needs(self, options: DecodeOptions) -> None:
        """Raises InputError when the options ask for an encoder or a sketch that this decoder does not have, and
        UnknownDecoderError for a hybrid's part that is not there."""
        if isinstance(self.config, BankConfig):
            return  # they mean nothing to it
        network = part_of(self.path, self.config.decoder) if isinstance(self.config, HybridConfig) else self.path
        sketched = (network / SKETCH_FILE).is_file()
        check_needs(options, self.name, encoder=read_config(network).encoder, sketched=sketched)


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256_of(path: Path, _size: int, _changed: int) -> str:
    """Of the file as it was then: checkpoints hardly change, and are asked for often."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _dimensions() -> dict[str, int]:
    """What each decoder reads, without those that are damaged."""
    found = {}
    for name in names():
        with suppress(CheckpointError):
            found[name] = find(name).embedding_dim
    return found


def described() -> list[DecoderInfo]:
    """All of them, by name. Raises CheckpointError when a config.json is damaged."""
    return [find(name).info for name in names()]


def find(name: str) -> Entry:
    """Raises UnknownDecoderError, listing the names there are, or CheckpointError when its config.json is damaged."""
    folders = _folders()
    if name not in folders:
        missing = "" if SHIPPED.is_dir() else f"; for those that ship: {INSTALL_WEIGHTS}"
        raise UnknownDecoderError(
            f"unknown decoder {name!r}; there are: {', '.join(sorted(folders)) or 'none'}{missing}"
            f"{did_you_mean(name, folders)}"
        )
    return Entry(name, folders[name], read_config(folders[name]))


def part_of(folder: Path, name: str) -> Path:
    """The folder of a part of the hybrid in `folder`: beside it, or by its name. Raises as `find` does."""
    beside = folder.resolve().parent / name
    return beside if (beside / CONFIG_FILE).is_file() else find(name).path


def read_config(folder: Path) -> AnyConfig:
    """config.json of a checkpoint folder. Raises CheckpointError, naming the file and what is wrong with it."""
    path = folder / CONFIG_FILE
    try:
        stat = path.stat()
        return _config_of(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {CONFIG_FILE}") from None
    except ValidationError as error:
        raise CheckpointError(f"{path} is not a checkpoint's config: {describe(error)}") from None


@lru_cache(maxsize=256)
def _config_of(path: Path, _inode: int, _size: int, _changed: int) -> AnyConfig:
    """Of the file as it was then: every view of a page with a list of decoders asks for all of them."""
    return _CONFIG.validate_json(path.read_bytes())
