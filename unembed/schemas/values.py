"""What several schemas are made of."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_DECODER: Final = "ret-v21-minilm"
DEFAULT_BATCH_SIZE: Final = 1024

NO_NUL: Final = r"^[^\x00]*$"  # PostgreSQL has no place for the character NUL in a text

# Of the matrix products; norms, residuals and logits are always float32. auto: what the device computes fastest.
Precision = Literal["auto", "float32", "bfloat16", "float16"]
EngineChoice = Literal["auto", "native", "torch"]

# OpenAPI's formats of integers; they decide the columns' widths.
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]
Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]


class Priority(StrEnum):
    """How large a job's share of the workers is, while others wait too."""

    HIGH = "high"  # eight rows for each row of a normal job
    NORMAL = "normal"
    LOW = "low"  # one row for eight of a normal job


class KeyRole(StrEnum):
    """What an API key may do; each may do what those before it may."""

    READER = "reader"  # look at its own jobs, and at decoders and metrics
    SUBMITTER = "submitter"  # submit, cancel, retry and remove its own jobs
    ADMIN = "admin"  # all of this with everybody's jobs


class Wire(BaseModel):
    """A frozen value that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Reply(BaseModel):
    """What a server says, frozen. One that is newer may say more: what is not known here is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")
