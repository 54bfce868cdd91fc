"""The decoders that a job may name."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from unembed.api.callers import Reader
from unembed.models.decoder import catalog
from unembed.schemas import DecoderInfo

router = APIRouter(tags=["decoders"])


@router.get("/decoders")
def list_decoders(_caller: Reader) -> list[DecoderInfo]:
    """List the decoders that a job can use."""
    return [_described(catalog.find(name)) for name in catalog.names()]


@router.get("/decoders/{name}")
def read_decoder(_caller: Reader, name: Annotated[str, Path(max_length=200)]) -> DecoderInfo:
    """Describe a decoder, with a hash of its checkpoint."""
    entry = catalog.find(name)
    return _described(entry).model_copy(update={"checkpoint": entry.checkpoint})


def _described(entry: catalog.Entry) -> DecoderInfo:
    return DecoderInfo(
        name=entry.name,
        embedding_dim=entry.embedding_dim,
        architecture=entry.architecture,
        encoder=entry.encoder,
    )
