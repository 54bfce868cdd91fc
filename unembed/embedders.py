"""Whose vectors they are: whether two names mean one embedder. Free of everything, for the client too.

One embedder has many names: `all-MiniLM-L6-v2`, `sentence-transformers/all-MiniLM-L6-v2` on the Hub and in vLLM,
`openai:all-minilm:latest?url=...` behind Ollama. What is compared is the model's own name, without kind, owner, tag
and options; of folders, also the hash of their files.
"""

from __future__ import annotations

import re
from typing import Final

_KIND: Final = re.compile(r"^(sentence-transformers|openai|fastembed|model2vec):")
_TAG: Final = re.compile(r":[^:/]*$")  # as Ollama's, `nomic-embed-text:latest`
_SHA256: Final = re.compile(r"[?&]sha256=([0-9a-f]{16})")


def may_be_same(one: str, other: str) -> bool:
    """Whether both may be names of one embedder: False only where that can be told."""
    hashes = [found[1] for name in (one, other) if (found := _SHA256.search(name))]
    if len(hashes) == 2:
        return hashes[0] == hashes[1]
    return _model(one) == _model(other)


def _model(name: str) -> str:
    bare = _KIND.sub("", name.partition("?")[0].strip())
    if _KIND.match(name):
        bare = _TAG.sub("", bare)
    last = re.split(r"[/\\]", bare.rstrip("/\\"))[-1]
    return re.sub(r"[^\w]|_", "", last.casefold())
