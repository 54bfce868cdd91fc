"""Models of the Hugging Face Hub, as folders of its cache. Only what is read is fetched: no pickle, no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from unembed.errors import InputError, MissingExtraError, UnavailableError
from unembed.models.encoders.spec import Spec

_READ: Final = ("*.safetensors", "*.json", "*.txt", "*.model")
_NOT_READ: Final = ("onnx/*", "openvino/*")
_OWNER: Final = "sentence-transformers"  # of names without one


def snapshot(spec: Spec) -> Path:
    """The model's folder in the cache of the Hub, fetched if it is not there.

    Raises InputError for a name or a revision that the Hub does not have, UnavailableError when it cannot be reached.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError:
        raise MissingExtraError.of("huggingface-hub", spec.kind) from None
    asked: dict[str, Any] = {
        "repo_id": repository(spec.name),
        "revision": spec.options.get("revision"),
        "allow_patterns": list(_READ),
        "ignore_patterns": list(_NOT_READ),
    }
    try:
        return Path(snapshot_download(**asked))
    except (RepositoryNotFoundError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"the Hub has no {asked['repo_id']!r}, and no folder has this name: {first}") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UnavailableError(
            f"{asked['repo_id']!r} is not in the cache of the Hub, which cannot be reached: "
            f"{str(error).strip().splitlines()[0]}; expected a connection, or sentence-transformers:FOLDER"
        ) from error


def repository(name: str) -> str:
    """owner/name."""
    return name if "/" in name else f"{_OWNER}/{name}"
