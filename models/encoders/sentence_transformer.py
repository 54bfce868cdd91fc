"""Models of sentence-transformers: a folder of this machine, or a name of the Hugging Face Hub.

Pooling, dense layers and the longest text are those of the folder. Weights are read as safetensors only, and no code of
the model's own is run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError

from unembed.errors import CheckpointError, first_line
from unembed.models.device import fastest
from unembed.models.encoders.base import Adapter
from unembed.models.encoders.folders import Located, require_safetensors
from unembed.models.encoders.hub import snapshot
from unembed.schemas import Precision

_OURS: Final = "sentence_transformers."  # of the class of every module: others are code that comes with the model
_BATCH: Final = 64  # texts in the network together; they are sorted by length


class SentenceTransformerFolder(Adapter):
    """Texts to vectors (N, D). Not thread-safe."""

    def __init__(self, folder: Path, prefix: str | None, device: str, dtype: torch.dtype) -> None:
        """Without a prefix, texts get the one that the folder names as its default, if it does.

        Raises CheckpointError for a folder that holds no model, or a pickle, or code.
        """
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        require_safetensors(folder)
        _require_no_code(folder)
        disable_progress_bar()  # of loading the weights
        try:
            model = SentenceTransformer(
                str(folder),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, ValueError, KeyError, TypeError, ImportError, SafetensorError) as error:
            raise CheckpointError(f"{folder} cannot be read as a model: {first_line(error)}") from error
        self._model: Any = model.to(dtype).eval()
        # As a prompt, because some models leave it out when they pool.
        self._prompt = {} if prefix is None else {"prompt": prefix}

    @property
    def dim(self) -> int:
        newer = getattr(self._model, "get_embedding_dimension", None)
        return int(newer() if newer else self._model.get_sentence_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        found = self._model.encode(
            list(texts), batch_size=_BATCH, convert_to_tensor=True, show_progress_bar=False, **self._prompt
        )
        return np.asarray(found.float().cpu().numpy(), np.float32)


def open_sentence_transformer(found: Located, device: str, precision: Precision) -> SentenceTransformerFolder:
    """In bfloat16 only where that is asked for and the device has instructions for it."""
    coarse = precision == "bfloat16" == fastest(torch.device(device))
    folder = found.folder or snapshot(found.spec)
    dtype = torch.bfloat16 if coarse else torch.float32
    return SentenceTransformerFolder(folder, found.spec.options.get("prefix"), device, dtype)


def _require_no_code(folder: Path) -> None:
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [str(module["type"]) for module in modules]
    except FileNotFoundError:
        return  # a plain network, which is pooled by its mean
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'modules.json'} cannot be read: {error}") from None
    for kind in kinds:
        if not kind.startswith(_OURS):
            raise CheckpointError(f"{folder} has the module {kind!r}, which is code of its own; expected {_OURS}...")
