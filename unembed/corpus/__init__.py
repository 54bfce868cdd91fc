"""Reading corpora of embeddings, and their slices on the wire."""

from __future__ import annotations

from unembed.corpus.payload import decode_payload, decode_raw, encode_payload
from unembed.corpus.slices import FLOAT_DTYPES, Slice, Vectors

__all__ = ["FLOAT_DTYPES", "Slice", "Vectors", "decode_payload", "decode_raw", "encode_payload"]
