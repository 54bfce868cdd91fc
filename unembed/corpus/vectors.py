"""The vectors of a fixed_size_list of floats, which is how they travel: a view of its memory wherever that is possible.

A null vector, or a null inside one, becomes NaN: the row is then an error row, and the rows around it decode.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unembed.corpus.slices import Vectors, require_floats


def vectors_of(column: Any, what: str) -> Vectors:
    """(N, D) of a column; CorpusError unless it holds floats."""
    size = int(column.type.list_size)
    # `.values` holds every slot, those of null lists and those outside this slice too: hence the offset by hand.
    slots = column.values.slice(column.offset * size, len(column) * size)
    flat = np.asarray(slots.to_numpy(zero_copy_only=False))
    require_floats(flat.dtype, what)
    vectors = flat.reshape(len(column), size)
    if column.null_count:
        vectors = vectors.copy()
        vectors[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return vectors
