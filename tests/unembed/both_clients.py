"""The client that waits, as one that is awaited: so that one scenario can be played with both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import numpy as np

from tests.builders import DIM
from unembed.async_client import AsyncClient
from unembed.async_job import AsyncJobHandle
from unembed.client import Client
from unembed.job import JobHandle

KINDS = ("that waits", "that awaits")
Play = Callable[[Callable[[Any], Awaitable[None]]], None]  # of a scenario: the fixture `play`
_AWAITED: dict[type[Any], type[Any]] = {Client: AsyncClient, JobHandle: AsyncJobHandle}


def vectors(rows: int = 25, dim: int = DIM) -> np.ndarray:
    return np.linspace(-1, 1, rows * dim, dtype=np.float32).reshape(rows, dim)


def made(kind: str, url: str, **settings: Any) -> Any:
    """A client of this kind, with the verbs of `AsyncClient`."""
    return AsyncClient(url, **settings) if kind == "that awaits" else _Awaited(Client(url, **settings))


class _Awaited:
    def __init__(self, held: Client | JobHandle) -> None:
        self._held = held

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._held, name)
        if not callable(found):
            return found
        is_awaited = inspect.iscoroutinefunction(getattr(_AWAITED[type(self._held)], name))

        async def awaited(*args: Any, **more: Any) -> Any:
            return _held(await asyncio.to_thread(found, *args, **more))

        def iterated(*args: Any, **more: Any) -> AsyncIterator[Any]:
            return _each(found(*args, **more))

        return awaited if is_awaited else iterated

    async def __aenter__(self) -> _Awaited:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._held.close()  # type: ignore[union-attr]


def _held(value: Any) -> Any:
    return _Awaited(value) if isinstance(value, JobHandle) else value


async def _each(values: Iterator[Any]) -> AsyncIterator[Any]:
    none = object()
    while (value := await asyncio.to_thread(next, values, none)) is not none:
        yield value
