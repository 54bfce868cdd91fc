"""Edits, proposed by the engine in C++ (native/src/edits.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_float, c_int32, c_int64, c_void_p
from typing import Any, ClassVar

import numpy as np
import torch

from unembed.models.decoder.edits import (
    BACKOFF,
    GLANCE,
    UNKNOWN_PRIOR,
    USUAL_WEIGHT,
    WEIGHT,
    Breadth,
    Edits,
    usual_words,
)
from unembed.models.decoder.sketch import END, START, Sketch
from unembed.models.decoder.vectors import Vectors


class _Rows(Structure):
    _fields_: ClassVar[Sequence[tuple[str, Any]]] = [
        ("rows", c_void_p),
        ("priors", c_void_p),
        ("pairs", c_void_p),
        ("width", c_int32),
        ("words", c_int32),
        ("count", c_int32),
        ("glance", c_int32),
        ("begin", c_int32),
        ("end", c_int32),
        ("backoff", c_float),
        ("unknown", c_float),
    ]


class _Edits(Structure):
    _fields_: ClassVar[Sequence[tuple[str, Any]]] = [
        ("queries", c_void_p),
        ("words", c_void_p),
        ("text_lengths", c_void_p),
        ("count", c_int64),
        ("limit", c_int32),
        ("shortlist", c_int32),
        ("apart", c_int32),
        ("exchanged", c_int32),
        ("inserted", c_int32),
        ("weight", c_float),
        ("usual", c_void_p),
        ("usual_count", c_int32),
        ("usual_tried", c_int32),
        ("usual_weight", c_float),
        ("most", c_int32),
        ("moved", c_int32),
        ("smoothed", c_int32),
        ("longest", c_int32),
        ("room", c_int32),
        ("edited", c_void_p),
        ("edited_lengths", c_void_p),
        ("keys", c_void_p),
    ]


class NativeEditor:
    """One sketch's rows, in the engine's memory. Calls from several threads at once are safe."""

    def __init__(self, library: ctypes.CDLL, sketch: Sketch) -> None:
        """Raises MemoryError."""
        library.unembed_sketch_create.restype, library.unembed_sketch_create.argtypes = c_void_p, [POINTER(_Rows)]
        library.unembed_sketch_destroy.restype, library.unembed_sketch_destroy.argtypes = None, [c_void_p]
        library.unembed_edit.argtypes = [c_void_p, POINTER(_Edits), c_int32]
        self._library, self._width, self._usual = library, sketch.judging.shape[1], usual_words(sketch)
        rows = np.ascontiguousarray(sketch.judging, dtype=np.float32)
        priors = np.ascontiguousarray(sketch.priors, dtype=np.float32)
        pairs = np.ascontiguousarray(sketch.pairs, dtype=np.int32)
        handle = library.unembed_sketch_create(
            byref(
                _Rows(
                    rows.ctypes.data,
                    priors.ctypes.data,
                    pairs.ctypes.data,
                    self._width,
                    len(sketch.words),
                    len(pairs),
                    GLANCE,
                    START,
                    END,
                    BACKOFF,
                    UNKNOWN_PRIOR,
                )
            )
        )
        if not handle:
            raise MemoryError("there is no memory for the decoder's sketch")
        self._handle = int(handle)

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            self._library.unembed_sketch_destroy(handle)

    def edits(self, texts: Sequence[Sequence[int]], queries: Vectors, breadth: Breadth) -> Edits:
        """As `Editor.edits`."""
        count, each = len(texts), breadth.each
        sizes = np.fromiter(map(len, texts), np.int64, count)  # (M,)
        limit = max(1, int(sizes.max(initial=0)))
        room = max(breadth.longest, limit)
        words = np.full((count, limit), -1, dtype=np.int32)
        for place, text in enumerate(texts):
            words[place, : len(text)] = text
        given = np.ascontiguousarray(queries, dtype=np.float32)  # (M, J)
        edited = np.zeros((count, each, room), dtype=np.int32)
        lengths = np.zeros((count, each), dtype=np.int32)
        keys = np.zeros((count, each), dtype=np.float32)
        usual = self._usual[: breadth.usual]
        asked = _Edits(
            given.ctypes.data,
            words.ctypes.data,
            sizes.ctypes.data,
            count,
            limit,
            breadth.shortlist,
            breadth.apart,
            breadth.exchanged,
            breadth.inserted,
            WEIGHT,
            usual.ctypes.data,
            len(usual),
            breadth.likeliest,
            USUAL_WEIGHT,
            breadth.most,
            breadth.moved,
            breadth.smoothed,
            breadth.longest,
            room,
            edited.ctypes.data,
            lengths.ctypes.data,
            keys.ctypes.data,
        )
        if self._library.unembed_edit(self._handle, byref(asked), torch.get_num_threads()):
            raise MemoryError("there is no memory to edit texts in; expected smaller micro-batches")
        return Edits(edited, lengths, keys)
