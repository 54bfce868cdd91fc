"""Results, written to a file, to a folder of parts, or to a stream.

.parquet, .arrow and .jsonl hold exactly what was decoded; .csv and .tsv are for spreadsheets. A file appears under its
name when it is whole, and on the disk, never before.
"""

from __future__ import annotations

from unembed.results.destination import Destination, Sink, destination_of
from unembed.results.layout import Layout
from unembed.results.made_by import MadeBy
from unembed.results.write import require_writable, write_results

__all__ = ["Destination", "Layout", "MadeBy", "Sink", "destination_of", "require_writable", "write_results"]
