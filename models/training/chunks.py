"""A long sequence, part by part: what is made of it need not lie in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar

Long = TypeVar("Long", bound=Any)  # whatever can be sliced

SIZE: Final = 65_536


def chunks(of: Long) -> Iterator[Long]:
    for begin in range(0, len(of), SIZE):
        yield of[begin : begin + SIZE]
