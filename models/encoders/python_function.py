"""A Python function of the user's own: module:function, which gets a list of texts and returns vectors (N, D)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unembed.errors import InputError
from unembed.models.encoders.base import Adapter


class PythonFunction(Adapter):
    """Whatever the function returns becomes an array: one of numpy, lists, tensors on the CPU."""

    def __init__(self, name: str) -> None:
        """Raises InputError when there is no such module or function."""
        self._name, self._function = name, _imported(name)
        self._dim: int | None = None

    @property
    def dim(self) -> int:
        if self._dim is None:
            self.embed(["dimension"])
        return self._dim or 0

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.floating]:
        try:
            vectors = np.asarray(self._function(list(texts)))
        except Exception as error:
            said = " ".join(str(error).split())
            raise InputError(f"the function {self._name!r} failed: {type(error).__name__}: {said}") from error
        self._dim = vectors.shape[-1] if vectors.ndim else 0
        return vectors


def _imported(name: str) -> Callable[[list[str]], Any]:
    module, _, path = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # a script of one's own lies where the command is given
    try:
        found = reduce(getattr, path.split("."), import_module(module))
    except Exception as error:  # a module of the user's may fail in any way
        raise InputError(
            f"cannot import {name!r}: {type(error).__name__}: {error}; expected module:function"
        ) from error
    if not callable(found):
        raise InputError(f"{name!r} is {type(found).__name__}; expected a function of a list of texts")
    return found
