"""Numpy arrays as vectors: axes of one element fall away, and numbers of any kind become floats."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unembed.corpus.one_cell import CellError, Coding, coded
from unembed.corpus.slices import FLOAT_DTYPES, Vectors, require_shape
from unembed.errors import CorpusError

_FLOAT32: Final = np.dtype(np.float32)
_CODED: Final = (Coding.INT8, Coding.UINT8, Coding.BINARY)


def matrix_shape(shape: tuple[int, ...], what: str) -> tuple[int, int]:
    """(N, D) of an array's shape: one vector is a corpus of one row. Raises CorpusError."""
    wide = [size for size in shape[1:] if size != 1]
    if len(shape) == 1:
        shape = (1, *shape)
    elif len(shape) > 2 and len(wide) < 2:
        shape = (shape[0], *wide) if wide else (shape[0], 1)
    elif len(shape) > 2 and len(wide) == 2 and shape[0] == 1:
        shape = tuple(wide)
    require_shape(shape, what)
    return shape[0], shape[1]


def float_dtype(dtype: np.dtype[Any], cells: Coding | None, what: str) -> np.dtype[Any]:
    """What `as_floats` makes of numbers of this type. Raises CorpusError for what are no numbers, or need a meaning."""
    if cells is Coding.BFLOAT16 and dtype.itemsize == 2:
        return _FLOAT32
    if cells in _CODED and dtype.kind in "iuf":
        return _FLOAT32
    if dtype.name in FLOAT_DTYPES:
        return dtype
    if dtype.name == "bfloat16" or (dtype.kind in "iu" and dtype != np.uint8):
        return _FLOAT32
    if dtype == np.uint8:
        raise CorpusError(
            f"{what} holds uint8 values, which quantised vectors of several kinds are: say which with --cells uint8 "
            "(128 stands for 0) or --cells binary (eight signs to a byte)"
        )
    if dtype.kind == "V" and dtype.itemsize == 2:
        raise CorpusError(
            f"{what} holds values of two bytes without a type: if they are bfloat16, say --cells bfloat16"
        )
    raise CorpusError(f"{what} holds {dtype.name} values, but embeddings are {', '.join(FLOAT_DTYPES)} or integers")


def dim_of(columns: int, cells: Coding | None) -> int:
    return columns * 8 if cells is Coding.BINARY else columns


def as_floats(array: NDArray[Any], cells: Coding | None, what: str) -> Vectors:
    """The same array, or its numbers as floats; of packed bits, eight times as many."""
    dtype = float_dtype(array.dtype, cells, what)
    if cells is Coding.BFLOAT16 and array.dtype.name != "bfloat16":
        floats: Vectors = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return floats
    try:
        values = coded(np.asarray(array), cells) if cells in _CODED else array
    except CellError as error:
        raise CorpusError(f"{what} {error}") from error
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False)


def plain(source: Any) -> Any:
    """Tensors and everything that can be an array, as one; other things as they are."""
    if made_by(source, "torch") and hasattr(source, "detach"):
        source = source.detach().cpu()
        return (source.float() if str(source.dtype) == "torch.bfloat16" else source).numpy()
    if isinstance(source, np.ma.MaskedArray):
        return np.ma.filled(source.astype(np.promote_types(source.dtype, np.float32)), np.nan)
    if hasattr(source, "toarray"):  # SciPy's sparse matrices
        return source.toarray()
    if hasattr(source, "__cuda_array_interface__") and hasattr(source, "get"):
        return source.get()
    if isinstance(source, np.generic) or not hasattr(source, "__array__"):
        return source
    try:
        return np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CorpusError(f"a {type(source).__name__} does not become an array: {error}") from error


def made_by(source: object, library: str) -> bool:
    return type(source).__module__.partition(".")[0] == library
