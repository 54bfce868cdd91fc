"""Rows as the frames of other libraries, which are no dependencies: each is asked for where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from unembed.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas
    import polars


def pandas_frame(table: pa.Table) -> pandas.DataFrame:
    """Raises MissingExtraError where pandas is not installed."""
    try:
        import pandas  # noqa: F401 - Arrow imports it, too, and says less
    except ImportError as error:
        raise _missing("to_pandas", "pandas") from error
    frame: Any = table.to_pandas()
    return frame


def polars_frame(table: pa.Table) -> polars.DataFrame:
    """Raises MissingExtraError where Polars is not installed."""
    try:
        import polars
    except ImportError as error:
        raise _missing("to_polars", "polars") from error
    frame: Any = polars.from_arrow(table)
    return frame


def _missing(verb: str, package: str) -> MissingExtraError:
    return MissingExtraError(f"{verb} needs the package {package!r}, which is not installed: pip install {package}")
