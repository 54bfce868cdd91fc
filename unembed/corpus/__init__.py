"""Corpora of embeddings: read from files or from memory, cut into batches, put on the wire.

A corpus is read a piece at a time, so it may be larger than the memory.
"""

from __future__ import annotations

from unembed.corpus.base import Corpus
from unembed.corpus.columns import CANDIDATES
from unembed.corpus.memory import corpus_from_array
from unembed.corpus.one_cell import Coding
from unembed.corpus.open import as_corpus, as_stream, open_corpus
from unembed.corpus.payload import decode_payload, decode_raw, encode_payload
from unembed.corpus.referenced import ReferencedCorpus, ReferenceReader, open_reference
from unembed.corpus.slices import FLOAT_DTYPES, Slice, Vectors
from unembed.corpus.streamed import Stream

__all__ = [
    "CANDIDATES",
    "FLOAT_DTYPES",
    "Coding",
    "Corpus",
    "ReferenceReader",
    "ReferencedCorpus",
    "Slice",
    "Stream",
    "Vectors",
    "as_corpus",
    "as_stream",
    "corpus_from_array",
    "decode_payload",
    "decode_raw",
    "encode_payload",
    "open_corpus",
    "open_reference",
]
