"""What a body may be: media types, and the headers beside them."""

from __future__ import annotations

from typing import Final, Literal

ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
RAW_BYTES: Final = "application/octet-stream"
JSON_LINES: Final = "application/jsonl"
PARQUET: Final = "application/vnd.apache.parquet"
ARROW_FILE: Final = "application/vnd.apache.arrow.file"
CSV: Final = "text/csv"
EVENT_STREAM: Final = "text/event-stream"
PROBLEM_JSON: Final = "application/problem+json"

ResultsFormat = Literal["jsonl", "csv", "parquet", "arrow"]
Order = Literal["finished", "index"]  # of results: as batches finish, or as in the corpus
CARRIED: Final = "carried"  # the preference of who reads rows with the columns that the job carries
NEXT_CURSOR: Final = "Unembed-Next-Cursor"  # the header of a page of results that says where the next one begins
