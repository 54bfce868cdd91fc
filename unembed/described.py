"""Docstrings that two classes share: written once, and shown by `help` of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

C = TypeVar("C", bound=type[Any])


def described_as(other: type[Any]) -> Callable[[C], C]:
    """The verbs of a class have the docstrings of another's verbs of the same names."""

    def describe(cls: C) -> C:
        for name, verb in vars(cls).items():
            if callable(verb) and verb.__doc__ is None:
                verb.__doc__ = getattr(getattr(other, name, None), "__doc__", None)
        return cls

    return describe
