"""The engine in C++: the same texts as the plain loops of `engine.py` and `beam.py`, several times as fast.

It serves networks of one layer on a CPU, in float32 and bfloat16. The library is called through ctypes, which
lets go of the GIL for the length of a call; it computes on as many threads as torch would.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_char_p, c_float, c_int, c_int32, c_int64, c_void_p
from dataclasses import fields
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unembed.models.decoder.engine import Generated
from unembed.models.decoder.folding import Folded, fold
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import PAD
from unembed.schemas import DecodeOptions

_NO_MEMORY: Final = 1


class _Shape(Structure):
    _fields_: ClassVar[Sequence[tuple[str, Any]]] = [
        (name, c_int32)
        for name in ("embedding", "hidden", "heads", "head", "units", "gated", "vocabulary", "positions")
    ]


class _Weights(Structure):
    _fields_: ClassVar[Sequence[tuple[str, Any]]] = [
        (field.name, c_void_p) for field in fields(Folded) if field.name != "config"
    ]


class _Rows(Structure):
    _fields_: ClassVar[Sequence[tuple[str, Any]]] = [
        ("embeddings", c_void_p),
        ("count", c_int64),
        ("limit", c_int32),
        ("keys", c_void_p),
        ("ids", c_void_p),
        ("log_probs", c_void_p),
        ("lengths", c_void_p),
        ("scores", c_void_p),
        ("owners", c_void_p),
    ]


class _Options(Structure):
    _fields_: ClassVar[Sequence[tuple[str, Any]]] = [
        ("penalty", c_float),
        ("temperature", c_float),
        ("top_p", c_float),
        ("min_p", c_float),
        ("top_k", c_int32),
        ("no_repeat", c_int32),
    ]

    @classmethod
    def of(cls, options: DecodeOptions) -> _Options:
        return cls(
            options.repetition_penalty,
            options.temperature,
            options.top_p,
            options.min_p,
            options.top_k,
            options.no_repeat_ngram,
        )


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library, with the types of its functions (`engine.cpp`)."""
    library.unembed_engine_abi.restype, library.unembed_engine_abi.argtypes = c_int, []
    library.unembed_engine_isa.restype, library.unembed_engine_isa.argtypes = c_char_p, []
    library.unembed_create.restype = c_void_p
    library.unembed_create.argtypes = [POINTER(_Shape), POINTER(_Weights), c_int32]
    library.unembed_destroy.restype, library.unembed_destroy.argtypes = None, [c_void_p]
    library.unembed_generate.argtypes = [c_void_p, POINTER(_Rows), POINTER(_Options), c_int32]
    library.unembed_score.argtypes = [c_void_p, POINTER(_Rows), c_int32]
    library.unembed_beams.argtypes = [c_void_p, POINTER(_Rows), POINTER(_Options), c_int32, c_float, c_int32]
    return library


class NativeEngine:
    """One folded network. Calls from several threads at once are safe: the network is only read."""

    def __init__(self, library: ctypes.CDLL, network: RET, dtype: torch.dtype, name: str, reason: str) -> None:
        """Of a network that `can_fold`, in float32 or bfloat16. Raises MemoryError."""
        self.name, self.reason, self.device = name, reason, torch.device("cpu")
        self._library = declare(library)
        self._config = network.config
        self._handle = self._created(fold(network), dtype)

    def _created(self, folded: Folded, dtype: torch.dtype) -> int:
        config = folded.config
        shape = _Shape(
            config.embedding_dim,
            config.hidden_dim,
            config.heads,
            config.head_width,
            config.mlp_dim,
            config.gated_units,
            config.vocab_size,
            len(folded.cos),
        )
        weights = _Weights(*(_address(getattr(folded, name)) for name, _ in _Weights._fields_))
        handle = self._library.unembed_create(byref(shape), byref(weights), int(dtype is torch.bfloat16))
        if not handle:
            raise MemoryError("there is no memory for the decoder's weights")
        return int(handle)

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            self._library.unembed_destroy(handle)

    @property
    def max_pieces(self) -> int:
        """The longest text that the network was trained on, END counted."""
        return self._config.max_pieces

    def generate(self, embeddings: Tensor, sampler: Sampler, keys: Tensor, max_pieces: int) -> Generated:
        """As `engine.generate`."""
        given, count = _floats(embeddings), len(embeddings)
        drawn = np.ascontiguousarray(keys.numpy(), dtype=np.int64)  # (N,)
        found = _Found(count, self._limit(max_pieces))
        rows = found.rows(count, given, drawn)
        self._check(
            self._library.unembed_generate(self._handle, byref(rows), byref(_Options.of(sampler.options)), _threads())
        )
        return found.generated()

    def beams(self, embeddings: Tensor, options: DecodeOptions, max_pieces: int) -> Generated:
        """As `beam.beam_search`."""
        given, count, width = _floats(embeddings), len(embeddings), options.width
        found = _Found(count * width, self._limit(max_pieces))
        rows = found.rows(count, given, None)
        self._check(
            self._library.unembed_beams(
                self._handle, byref(rows), byref(_Options.of(options)), width, options.length_penalty, _threads()
            )
        )
        return found.best_first(width)

    def piece_log_probs(self, embeddings: Tensor | None, generated: Generated, owners: Tensor | None = None) -> Tensor:
        """As `engine.piece_log_probs`; None: none of the rows has an embedding.

        What texts of one owner share at their beginning is computed once.
        """
        ids = np.ascontiguousarray(generated.ids.numpy(), dtype=np.int64)  # (M, T)
        lengths = np.ascontiguousarray(generated.lengths.numpy(), dtype=np.int64)  # (M,)
        log_probs = np.zeros(ids.shape, dtype=np.float32)
        given = None if embeddings is None else _floats(embeddings)  # (R, E)
        owned = None if given is None else _owners(owners, len(ids), len(given))
        rows = _Rows(
            embeddings=_address(given),
            count=len(ids),
            limit=ids.shape[1],
            ids=_address(ids),
            log_probs=_address(log_probs),
            lengths=_address(lengths),
            owners=_address(owned),
        )
        if ids.size:
            self._check(self._library.unembed_score(self._handle, byref(rows), _threads()))
        return torch.from_numpy(log_probs * (ids != PAD))

    def _limit(self, max_pieces: int) -> int:
        if not 1 <= max_pieces <= self._config.max_pieces + 1:
            raise ValueError(f"max_pieces is {max_pieces}; expected 1 to {self._config.max_pieces + 1}")
        return max_pieces

    @staticmethod
    def _check(status: int) -> None:
        if status == _NO_MEMORY:
            raise MemoryError("there is no memory for the decoder's keys and values; expected smaller micro-batches")


class _Found:
    """Room for N rows of pieces, which the library writes into."""

    def __init__(self, count: int, limit: int) -> None:
        self._ids = np.full((count, limit), PAD, dtype=np.int64)
        self._log_probs = np.zeros((count, limit), dtype=np.float32)
        self._lengths = np.zeros(count, dtype=np.int64)
        self._scores = np.full(count, -np.inf, dtype=np.float32)

    def rows(self, count: int, embeddings: NDArray[np.float32], keys: NDArray[np.int64] | None) -> _Rows:
        return _Rows(
            _address(embeddings),
            count,
            self._ids.shape[1],
            _address(keys),
            _address(self._ids),
            _address(self._log_probs),
            _address(self._lengths),
            _address(self._scores),
        )

    def generated(self) -> Generated:
        longest = int(self._lengths.max(initial=0))
        return Generated(
            torch.from_numpy(self._ids[:, :longest]),
            torch.from_numpy(self._log_probs[:, :longest]),
            torch.from_numpy(self._lengths),
        )

    def best_first(self, width: int) -> Generated:
        """Of rows whose `width` beams lie together, each row's best beam first. One without a text has one PAD."""
        self._lengths[self._lengths == 0] = 1
        scores = self._scores.reshape(-1, width)  # (N, W)
        order = np.argsort(-scores, axis=1, kind="stable") + np.arange(len(scores))[:, None] * width
        places = order.ravel()  # (N·W,)
        self._ids, self._log_probs = self._ids[places], self._log_probs[places]
        self._lengths = self._lengths[places]
        return self.generated()


def _floats(embeddings: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(embeddings.detach().numpy(), dtype=np.float32)


def _owners(owners: Tensor | None, texts: int, rows: int) -> NDArray[np.int64] | None:
    """(M,); the library would read beyond the embeddings for an owner that is none of them."""
    if owners is None and texts != rows:
        raise ValueError(f"{texts} texts have {rows} embeddings; expected as many, or owners")
    if owners is None:
        return None
    owned = np.ascontiguousarray(owners.numpy(), dtype=np.int64)
    if owned.shape != (texts,):
        raise ValueError(f"owners have the shape {owned.shape}; expected ({texts},), one for each text")
    if texts and not (owned.min() >= 0 and owned.max() < rows):
        raise ValueError(f"owners are {owned.min()} to {owned.max()}; expected 0 to {rows - 1}, rows of the embeddings")
    return owned


def _address(array: NDArray[Any] | None) -> int | None:
    return None if array is None else array.ctypes.data


def _threads() -> int:
    return torch.get_num_threads()
