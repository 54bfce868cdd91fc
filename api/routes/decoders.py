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
    return catalog.described()


@router.get("/decoders/{name}")
def read_decoder(_caller: Reader, name: Annotated[str, Path(max_length=200)]) -> DecoderInfo:
    """Describe a decoder, with a hash of its checkpoint."""
    entry = catalog.find(name)
    return entry.info.model_copy(update={"checkpoint": entry.checkpoint})
