"""How an error looks on the wire."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Problem(BaseModel):
    """RFC 9457, with the error's `code` and the request's id as extension members."""

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    code: str = "unembed"
    request_id: str | None = None  # as in the header X-Request-ID, and in the log of the server
