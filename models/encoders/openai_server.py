"""Which server an `openai:` encoder asks, and with which key. Free of torch."""

from __future__ import annotations

import os
from typing import Final

from unembed.models.encoders.spec import OPENAI_URL, Spec

OPENAI: Final = "openai"
OPENAI_KEY: Final = "OPENAI_API_KEY"
ANY_KEY: Final = "UNEMBED_OPENAI_KEY"


def url_of(spec: Spec) -> str:
    return spec.options.get("url", OPENAI_URL)


def key_for(url: str) -> str | None:
    """The key for the server at this URL; the one that is for OpenAI goes to nobody else."""
    names = (ANY_KEY, OPENAI_KEY) if url == OPENAI_URL else (ANY_KEY,)
    return next((key for name in names if (key := os.environ.get(name, "").strip())), None)
