"""Turns a missing optional package into an error that says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from unembed.errors import MissingExtraError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports that the extra provides. Raises MissingExtraError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(error.name or "unknown", extra) from None
