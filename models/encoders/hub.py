"""Models of the Hugging Face Hub, as folders of its cache. Only what is read is fetched: no pickle, no code."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from unembed.errors import InputError, MissingExtraError, UnavailableError, first_line
from unembed.models.encoders.folders import OF_FOLDERS, Located
from unembed.models.encoders.spec import Spec

_READ: Final = ("*.safetensors", "*.json", "*.txt", "*.model")
_NOT_READ: Final = ("onnx/*", "openvino/*")
_OWNER: Final = "sentence-transformers"  # of names without one
_MAIN: Final = "main"
_WAIT: Final = 10.0  # seconds, for the commit that a name stands for


def snapshot(spec: Spec) -> Path:
    """The model's folder in the cache of the Hub, fetched if it is not there.

    Raises InputError for a name or a revision that the Hub does not have, UnavailableError when it cannot be reached.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError:
        raise MissingExtraError.of("huggingface-hub", spec.kind) from None
    name = repository(spec.name)
    asked: dict[str, Any] = {"repo_id": name, "revision": spec.options.get("revision")}
    asked |= {"allow_patterns": list(_READ), "ignore_patterns": list(_NOT_READ)}
    try:
        cached = Path(snapshot_download(**asked, local_files_only=True))
        if any(cached.rglob("*.safetensors")):
            return cached
    except (LocalEntryNotFoundError, ValueError):
        pass
    try:
        return Path(snapshot_download(**asked))
    except (RepositoryNotFoundError, ValueError) as error:
        raise InputError(f"the Hub has no {name!r}, and no folder has this name: {first_line(error)}") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UnavailableError(
            f"{name!r} is not in the cache of the Hub, which cannot be reached: {first_line(error)}; expected a "
            f"connection, or {spec.kind}:FOLDER"
        ) from error


def pinned(found: Located) -> Located:
    """A name of the Hub with the commit that it stands for now, where that can be known; all else as it is."""
    spec = found.spec
    if spec.kind not in OF_FOLDERS or found.folder is not None or "revision" in spec.options:
        return found
    commit = _commit_of(repository(spec.name))
    return found if commit is None else Located(spec.with_options(revision=commit))


def repository(name: str) -> str:
    """owner/name."""
    return name if "/" in name else f"{_OWNER}/{name}"


def _commit_of(name: str) -> str | None:
    """That of the cache, else the Hub's own."""
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    cached = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "refs" / _MAIN
    if cached.is_file():
        return cached.read_text(encoding="utf-8").strip()
    try:
        return HfApi().model_info(name, timeout=_WAIT).sha
    except Exception:  # whatever it is, `snapshot` says it when the model is needed
        return None
