"""All pages of a job's rows, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa

from unembed.models.store import ResultsPage

PAGE_ROWS: Final = 8000


def every_page(read: Callable[[str | None], ResultsPage]) -> Iterator[pa.RecordBatch]:
    """The rows of each page; `read` gets the cursor of one, None for the first."""
    cursor: str | None = None
    while True:
        page = read(cursor)
        yield page.rows
        cursor = page.next_cursor
        if cursor is None:
            return
