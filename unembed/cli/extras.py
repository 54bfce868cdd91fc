"""Turns a missing optional package into an error that says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from unembed.errors import MissingExtraError, UnembedError

ONLY_UNIX = "a server and its workers run on Linux and macOS only"
_UNIX_ONLY = ("fcntl", "resource")  # of the standard library


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports that the extra provides. Raises MissingExtraError, and UnembedError where there is no Unix."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name in _UNIX_ONLY:
            raise UnembedError(f"{ONLY_UNIX}: use WSL, or name a server elsewhere with --url") from None
        raise MissingExtraError.of(error.name or "unknown", extra) from None
