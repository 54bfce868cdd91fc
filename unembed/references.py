"""Corpora by reference: a batch that says where its vectors lie, instead of bringing them.

file    one file of vectors, as it was when the job was submitted
group   a row group of a parquet file, or a record batch of an Arrow file; a .npy file has none
start   the first row of the batch within the group, or within the .npy file
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

MOST_REFERENCES: Final = 500  # in one request

_NO_NUL: Final = r"^[^\x00]*$"  # PostgreSQL has no place for the character NUL in a text

Text = Annotated[str, Field(max_length=200, pattern=_NO_NUL)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusFile(_Frozen):
    """A file that workers read themselves, and how to tell that it is still the same."""

    uri: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2000,
            pattern=_NO_NUL,
            description="A .parquet, .arrow, .feather or .npy file: file:///..., s3://..., gs://... or https://...",
        ),
    ]
    size: Annotated[int, Field(ge=1, lt=2**62, description="The file's size in bytes")]
    version: Annotated[Text, Field(min_length=1, description="`mtime:` and nanoseconds, or `etag:` and the ETag")]
    column: Annotated[Text | None, Field(description="The column of vectors; null to look for it by its name")] = None
    id_column: Annotated[Text | None, Field(description="The column of ids; '' for none")] = None


class BatchReference(CorpusFile):
    """Where the rows of one batch lie."""

    group: Annotated[
        int | None, Field(ge=0, lt=2**31, description="The row group or record batch; null in a .npy file")
    ] = None
    start: Annotated[int, Field(ge=0, lt=2**62, description="The batch's first row within it")] = 0

    @property
    def sha256(self) -> str:
        """The same reference has the same; it stands where that of a payload would."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class ResultsPart(_Frozen):
    """The file that has the rows of one batch, where a job keeps them in files."""

    uri: str
    bytes: int


class ReferencedBatch(_Frozen):
    """One batch of a file."""

    ordinal: Annotated[int, Field(ge=0, lt=2**31, description="The number of the batch within the job, from 0")]
    first_index: Annotated[int, Field(ge=0, lt=2**62, description="The index of its first row in the corpus")]
    rows: Annotated[int, Field(ge=1, lt=2**31, description="How many rows it has")]
    group: Annotated[
        int | None, Field(ge=0, lt=2**31, description="The row group or record batch; null in a .npy file")
    ] = None
    start: Annotated[int, Field(ge=0, lt=2**62, description="Its first row within the group, or the file")] = 0


class ReferencedBatches(_Frozen):
    """The body of POST /v1/jobs/{job_id}/batches: batches of one file."""

    file: CorpusFile
    batches: Annotated[tuple[ReferencedBatch, ...], Field(min_length=1, max_length=MOST_REFERENCES)]

    def reference_of(self, batch: ReferencedBatch) -> BatchReference:
        return BatchReference(**self.file.model_dump(), group=batch.group, start=batch.start)


class ReferencesAccepted(_Frozen):
    """How many of the batches are new, and how many were accepted before."""

    added: int
    known: int
