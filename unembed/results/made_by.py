"""What made the texts of a file: kept in the file itself, so that nobody has to remember it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import version
from typing import Final, Self

import pyarrow as pa

from unembed.schemas import Batch, DecodeOptions, Job, JobState, Wire

KEY: Final = b"unembed"  # in the metadata of a schema


class MadeBy(Wire):
    """The job, the decoder and the versions that made some results."""

    job: str
    name: str | None = None
    state: JobState  # of the job when its results were read
    rows: int
    decoder: str
    checkpoint: str | None = None  # a sha256 of the decoder, as the server has it
    embedding_dim: int
    seed: int
    options: DecodeOptions
    engines: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    finished_at: datetime | None = None
    unembed: str  # the version that wrote them

    @classmethod
    def of(cls, job: Job, batches: Iterable[Batch], checkpoint: str | None) -> Self:
        engines, precisions, devices = set[str](), set[str](), set[str]()
        for batch in batches:
            engines |= {batch.engine} if batch.engine else set()
            precisions |= {batch.precision} if batch.precision else set()
            devices |= {batch.device} if batch.device else set()
        return cls(
            job=job.id,
            name=job.name,
            state=job.state,
            rows=job.rows.written,
            decoder=job.decoder,
            checkpoint=checkpoint,
            embedding_dim=job.embedding_dim,
            seed=job.seed,
            options=job.options,
            engines=tuple(sorted(engines)),
            precisions=tuple(sorted(precisions)),
            devices=tuple(sorted(devices)),
            finished_at=job.finished_at,
            unembed=version("unembed"),
        )


def with_made_by(schema: pa.Schema, made_by: MadeBy | None) -> pa.Schema:
    """The same columns; parquet and Arrow files keep the metadata of their schema."""
    if made_by is None:
        return schema
    return schema.with_metadata({KEY: made_by.model_dump_json().encode()})
