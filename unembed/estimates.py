"""What a job would cost, before it is one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from unembed.schemas import DEFAULT_BATCH_SIZE, JobCreate, Wire


class EstimateRequest(JobCreate):
    """The body of POST /v1/jobs:estimate: a job as it would be created, and how large it is."""

    rows: Annotated[int, Field(ge=1, lt=2**62, description="How many rows the corpus has")]
    batch_size: Annotated[int, Field(ge=1, lt=2**31, description="How many of them a batch has")] = DEFAULT_BATCH_SIZE


class Estimate(Wire):
    """How long a job would take that came now."""

    rows: int
    batches: int
    bytes: int  # of its vectors in float32, which is how workers hold them
    workers: int  # that were seen of late
    rows_per_second: float | None = None  # of these workers, with this decoder and options; null: none did it of late
    jobs_ahead: int  # jobs that wait or run, and would share the workers with it
    rows_ahead: int  # of those, as many as would be decoded before it is done
    seconds: float | None = None  # until it would be done; null: nothing is known to reckon it from
