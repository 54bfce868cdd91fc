"""Lists that show themselves as tables in a notebook."""

from __future__ import annotations

from unembed.html_tables import html_table
from unembed.schemas import DecoderInfo, Generation


class RowList(list[Generation]):
    """Some rows of a job."""

    def _repr_html_(self) -> str:
        cells = [(row.index, row.id, row.text, row.overall_quality, row.status, row.error) for row in self]
        return html_table(("index", "id", "text", "quality", "status", "error"), cells)


class DecoderList(list[DecoderInfo]):
    """The decoders of a server."""

    def _repr_html_(self) -> str:
        cells = [(one.name, one.embedding_dim, one.encoder) for one in self]
        return html_table(("decoder", "dimensions", "reads the vectors of"), cells)
