"""One decoded row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, PrivateAttr

from unembed.schemas.states import RowStatus
from unembed.schemas.values import Int32, Int64, Reply

_SHOWN: Final = 60  # characters of a text, where a row is told in a line


class Generation(Reply):
    """One decoded row; the same field names in SQL, JSON, parquet and CSV."""

    index: Annotated[Int64, Field(description="The row's place in the corpus, from 0")]
    id: Annotated[str | None, Field(description="The client's own id for the row")] = None
    text: Annotated[str | None, Field(description="What the embedding was decoded into; null in an error row")] = None
    status: Annotated[RowStatus, Field(description="ok, fallback (another source answered), or error (no text)")]
    error_code: Annotated[str | None, Field(description="Why there is no text, for programs")] = None
    error: Annotated[str | None, Field(description="Why there is no text, for people")] = None
    source: Annotated[str | None, Field(description="The decoder that wrote the text")] = None
    tokens: Annotated[Int32 | None, Field(description="How many pieces the text was generated from")] = None
    overall_quality: Annotated[
        float | None, Field(description="How likely the text is to be faithful, as the decoder estimates it, 0 to 1")
    ] = None
    fluency: Annotated[float | None, Field(description="How natural the text is as language, 0 to 1")] = None
    coherence: Annotated[
        float | None, Field(description="How much of the text is about this embedding, not language at large, 0 to 1")
    ] = None
    diversity: Annotated[float | None, Field(description="How little the text repeats itself, 0 to 1")] = None
    round_trip: Annotated[float | None, Field(description="The cosine of the text's embedding and the given one")] = (
        None
    )
    off_manifold: Annotated[
        bool | None, Field(description="The embedding is unlike that of any text; null when the decoder cannot tell")
    ] = None
    decode_ms: Annotated[float | None, Field(description="The row's share of its micro-batch's milliseconds")] = None
    _carried: dict[str, Any] = PrivateAttr(default_factory=dict)  # no field: it is no column of every job's rows

    @property
    def carried(self) -> Mapping[str, Any]:
        """The columns that the job carries, by name; empty where it carries none."""
        return self._carried

    def __repr__(self) -> str:
        said = self.error if self.text is None else self.text
        return f"<Generation {self.index} {self.status} {(said or '')[:_SHOWN]!r}>"


GENERATION_FIELDS: Final = tuple(Generation.model_fields)
