"""What a client asks for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from unembed.decode_options import DecodeOptions
from unembed.schemas.values import DEFAULT_DECODER, NO_NUL, Priority, Wire
from unembed.webhooks import Webhook

MAX_LABELS: Final = 32
_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?"
LABEL_FILTER: Final = rf"^{_LABEL}(=[^\x00]*)?$"
Labels = Annotated[
    dict[
        Annotated[str, Field(pattern=f"^{_LABEL}$")],
        Annotated[str, Field(max_length=200, pattern=NO_NUL)],
    ],
    Field(max_length=MAX_LABELS, description="Names and values to find the job by"),
]


class CarriedKind(StrEnum):
    """What a carried column holds."""

    STRING = "string"
    INTEGER = "integer"  # of 64 bits
    NUMBER = "number"
    BOOLEAN = "boolean"


MAX_CARRIED: Final = 16  # columns of a job
MAX_CARRIED_BYTES: Final = 4096  # of a row: its texts as UTF-8, and eight for any other value
Carry = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=200, pattern=NO_NUL)], CarriedKind],
    Field(
        max_length=MAX_CARRIED,
        description="Columns that come with each batch and go back with each row: their names, and what each holds",
    ),
]


_ALWAYS_SAID: Final = frozenset({"decoder", "embedding_dim", "seed"})  # whatever a server's own defaults are


class JobCreate(Wire):
    """The body of POST /v1/jobs."""

    decoder: Annotated[
        str, Field(min_length=1, max_length=200, pattern=NO_NUL, description="The name of the decoder")
    ] = DEFAULT_DECODER
    embedding_dim: Annotated[int, Field(ge=1, le=65_536, description="How many values each vector has")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="The same seed gives the same texts")] = 0
    options: DecodeOptions = DecodeOptions()
    name: Annotated[
        str | None,
        Field(max_length=200, pattern=NO_NUL, description="A name for people to read; it need not be unique"),
    ] = None
    fingerprint: Annotated[
        str | None,
        Field(
            max_length=128,
            pattern=NO_NUL,
            description="A hash of the corpus: an idempotency key is not accepted for another corpus",
        ),
    ] = None
    results_uri: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=2000,
            pattern=NO_NUL,
            description="A folder under `UNEMBED_RESULTS_ROOTS`: workers write the rows there, a parquet file a batch, "
            "and not into the database",
        ),
    ] = None
    priority: Annotated[
        Priority, Field(description="The job's share while others wait: high is eight times normal, low an eighth")
    ] = Priority.NORMAL
    labels: Labels = {}  # noqa: RUF012 - pydantic copies it
    webhook: Annotated[Webhook | None, Field(description="Where its end is told")] = None
    carry: Carry = {}  # noqa: RUF012 - pydantic copies it

    @model_serializer(mode="wrap")
    def _what_was_asked_for(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what was left as it is: a server of an older version refuses fields that it does not know."""
        fields = type(self).model_fields
        said = {
            name: value
            for name, value in whole(self).items()
            if name in _ALWAYS_SAID or getattr(self, name) != fields[name].default
        }
        return said | {"options": self.options.model_dump(mode="json", exclude_unset=True)}


class JobSeal(Wire):
    """The body of POST /v1/jobs/{job_id}/seal: what the client believes it has sent."""

    batches: Annotated[int, Field(ge=1, description="How many batches were sent")]
    rows: Annotated[int, Field(ge=1, description="How many rows they have together")]
