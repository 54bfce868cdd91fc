"""all-MiniLM-L6-v2 without padding: the network in plain torch, over batches of texts with equally many tokens.

sentence-transformers pads a batch to its longest text and masks the rest; here nothing is padded, so nothing is masked,
and queries, keys and values are one product. The vectors are those of sentence-transformers to the last bits, which
`tests/models/encoders/test_minilm.py` holds them to; how much sooner they come is in docs/lab.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from unembed.errors import CheckpointError
from unembed.models.device import fastest
from unembed.models.encoders.base import Adapter
from unembed.models.encoders.known import KNOWN, MINILM
from unembed.schemas import Precision

MOST_TOKENS: Final = 256  # of a text, the marks at its ends included: what it was trained on
AT_ONCE: Final = 2048  # tokens in the network together
# What the code below computes; a model of another shape would be read wrongly.
_SHAPE: Final[dict[str, dict[str, object]]] = {
    "config.json": {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": 384,
        "num_attention_heads": 12,
        "num_hidden_layers": 6,
        "position_embedding_type": "absolute",
        "layer_norm_eps": 1e-12,
    },
    "sentence_bert_config.json": {"max_seq_length": MOST_TOKENS},
    "1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
}
_MODULES: Final = ("Transformer", "Pooling", "Normalize")


def open_minilm(device: str, precision: Precision) -> MiniLM:
    """In bfloat16 only where that is asked for and the device has instructions for it."""
    coarse = precision == "bfloat16" == fastest(torch.device(device))
    return _network(device, torch.bfloat16 if coarse else torch.float32)


@cache
def _network(device: str, dtype: torch.dtype) -> MiniLM:
    """One a device and precision, whichever encoders use it: it takes 90 MB."""
    spec = find_spec(KNOWN[MINILM].module)
    if spec is None or spec.origin is None:
        raise CheckpointError(f"the module {KNOWN[MINILM].module} is installed, but has no files")
    return MiniLM(Path(spec.origin).parent / "model", device, dtype)


@dataclass(frozen=True)
class _Layer:
    """Weights (out, in) and biases (out,)."""

    qkv: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    out_norm: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    down_norm: tuple[Tensor, Tensor]


class MiniLM(Adapter):
    """Texts to unit vectors: the mean of the states of their tokens. Not thread-safe."""

    chunk = 4096

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        """Raises CheckpointError when the folder holds another network."""
        _check(folder)
        config = _read(folder, "config.json")
        self._width, self._heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        self._eps = float(config["layer_norm_eps"])
        self._device, self._dtype = torch.device(device), dtype
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)
        weights = load_file(folder / "model.safetensors")
        self._words = self._pair(weights, "embeddings.word_embeddings.weight")[0]
        first_type = weights["embeddings.token_type_embeddings.weight"][0]  # (C,): of all tokens
        places = weights["embeddings.position_embeddings.weight"] + first_type  # (P, C)
        self._places = places.to(self._device, dtype)
        self._norm = self._pair(weights, "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias")
        self._layers = [self._layer(weights, number) for number in range(int(config["num_hidden_layers"]))]

    @property
    def dim(self) -> int:
        return self._width

    def _pair(self, weights: dict[str, Tensor], *names: str) -> tuple[Tensor, Tensor]:
        found = [weights[name].to(self._device, self._dtype) for name in names]
        return found[0], found[-1]

    def _layer(self, weights: dict[str, Tensor], number: int) -> _Layer:
        def pair(name: str) -> tuple[Tensor, Tensor]:
            stem = f"encoder.layer.{number}.{name}"
            return self._pair(weights, f"{stem}.weight", f"{stem}.bias")

        projections = [pair(f"attention.self.{name}") for name in ("query", "key", "value")]
        return _Layer(
            qkv=(torch.cat([weight for weight, _ in projections]), torch.cat([bias for _, bias in projections])),
            out=pair("attention.output.dense"),
            out_norm=pair("attention.output.LayerNorm"),
            up=pair("intermediate.dense"),
            down=pair("output.dense"),
            down_norm=pair("output.LayerNorm"),
        )

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, with the marks at its ends."""
        return [list(one.ids) for one in self._tokenizer.encode_batch_fast(list(texts))]

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        ids = self.tokens(texts)
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        found: list[Tensor] = []
        for length, places in groupby(order, key=lambda place: len(ids[place])):
            rows = torch.tensor([ids[place] for place in places], device=self._device)  # (G, L)
            found += [self._states(part).float().mean(dim=1) for part in torch.split(rows, max(1, AT_ONCE // length))]
        vectors = F.normalize(torch.cat(found), dim=1).cpu()  # (N, C), the shortest texts first
        return np.asarray(torch.empty_like(vectors).index_copy_(0, torch.tensor(order), vectors).numpy())

    def _states(self, ids: Tensor) -> Tensor:
        """The last layer's states (B, L, C) of ids (B, L)."""
        x = self._normed(self._words[ids] + self._places[: ids.shape[1]], self._norm)  # (B, L, C)
        for layer in self._layers:
            x = self._normed(x + F.linear(self._attended(x, layer), *layer.out), layer.out_norm)
            x = self._normed(x + F.linear(F.gelu(F.linear(x, *layer.up)), *layer.down), layer.down_norm)
        return x

    def _attended(self, x: Tensor, layer: _Layer) -> Tensor:
        batch, length, width = x.shape
        qkv = F.linear(x, *layer.qkv).view(batch, length, 3, self._heads, width // self._heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # 3 × (B, H, L, D)
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, length, width)

    def _normed(self, x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        return F.layer_norm(x, (self._width,), norm[0], norm[1], self._eps)


def _check(folder: Path) -> None:
    """Raises CheckpointError unless the model is what the code above computes, to the vectors at its end."""
    for file, expected in _SHAPE.items():
        found = _read(folder, file)
        for name, value in expected.items():
            if found.get(name) != value:
                raise CheckpointError(f"{folder / file} has {name} {found.get(name)!r}; expected {value!r}")
    modules = tuple(str(module["type"]).rpartition(".")[2] for module in _read(folder, "modules.json"))
    if modules != _MODULES:
        raise CheckpointError(f"{folder} has the modules {', '.join(modules)}; expected {', '.join(_MODULES)}")


def _read(folder: Path, file: str) -> Any:
    try:
        return json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / file} cannot be read: {error}") from None
