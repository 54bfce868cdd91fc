"""The plain values that a pickle spells, read as data: nothing in it is imported, called or loaded.

A pickle is a program for a stack. Of its instructions those are known here that make numbers, text, lists, dicts and
such; an object becomes the name of its class and its state, and whatever else there is, is refused. A list of floats,
most of what is read here, is taken at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Final
from uuid import UUID

import numpy as np


@dataclass
class Object:
    """An object of a class, which is only a name here."""

    of: str
    state: Any = None


@dataclass(frozen=True)
class _Name:
    of: str


_MARK: Final = object()
_TIMES: Final = {f"datetime.{each.__name__}": each for each in (date, datetime, time, timedelta, timezone)}
_NONE, _TRUE, _FALSE, _FLOAT, _STOP = b"N"[0], 0x88, 0x89, b"G"[0], b"."[0]
_NUMBERS: Final = {b"J"[0]: "<i", b"K"[0]: "<B", b"M"[0]: "<H"}
# After these comes a length, and as many bytes: of text, of bytes, of an integer.
_SIZED: Final[dict[int, tuple[str, Callable[[bytes], Any]]]] = {
    0x8C: ("<B", lambda data: data.decode("utf-8", "surrogatepass")),
    b"X"[0]: ("<I", lambda data: data.decode("utf-8", "surrogatepass")),
    0x8D: ("<Q", lambda data: data.decode("utf-8", "surrogatepass")),
    b"C"[0]: ("<B", bytes),
    b"B"[0]: ("<I", bytes),
    0x8A: ("<B", lambda data: int.from_bytes(data, "little", signed=True)),
}
_EMPTY: Final[dict[int, Callable[[], Any]]] = {b"]"[0]: list, b"}"[0]: dict, b")"[0]: tuple, 0x8F: set}
_TUPLES: Final = {0x85: 1, 0x86: 2, 0x87: 3}
_SKIPPED: Final = {0x80: 1, 0x95: 8}  # the protocol, the length of a frame
_PUT: Final = {b"q"[0]: "<B", b"r"[0]: "<I"}
_GET: Final = {b"h"[0]: "<B", b"j"[0]: "<I"}


def values_in(data: bytes) -> Any:
    """What the pickle spells. Raises ValueError for what is no pickle, or spells more than plain values."""
    try:
        return _Reader(data).read()
    except (ArithmeticError, AttributeError, LookupError, TypeError, struct.error) as error:
        raise ValueError(f"it is no pickle of plain values: {error!r}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        while (code := self._data[self._at]) != _STOP:
            self._at += 1
            self._step(code)
        return self._stack.pop()

    def _step(self, code: int) -> None:
        stack = self._stack
        if code == _FLOAT:
            self._floats()
        elif code in _NUMBERS:
            stack.append(self._number(_NUMBERS[code]))
        elif code in _SIZED:
            kind, made = _SIZED[code]
            stack.append(made(self._bytes(self._number(kind))))
        elif code in (_NONE, _TRUE, _FALSE):
            stack.append(None if code == _NONE else code == _TRUE)
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code in _TUPLES:
            count = _TUPLES[code]
            stack[-count:] = [tuple(stack[-count:])]
        elif code in _SKIPPED:
            self._bytes(_SKIPPED[code])
        elif code == 0x94:
            self._memo[len(self._memo)] = stack[-1]
        elif code in _PUT:
            self._memo[self._number(_PUT[code])] = stack[-1]
        elif code in _GET:
            stack.append(self._memo[self._number(_GET[code])])
        else:
            self._build(bytes([code]))

    def _build(self, code: bytes) -> None:
        stack = self._stack
        match code:
            case b"(":
                stack.append(_MARK)
            case b"e" | b"u" | b"t" | b"\x90":  # the values since the mark: to a list, a dict, as a tuple, to a set
                self._gather(code)
            case b"a":
                value = stack.pop()
                stack[-1].append(value)
            case b"s":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case b"\x93":
                name, module = stack.pop(), stack.pop()
                stack.append(_Name(f"{module}.{name}"))
            case b"c":
                module, name, _ = self._data[self._at :].split(b"\n", 2)
                self._at += len(module) + len(name) + 2
                stack.append(_Name(f"{module.decode()}.{name.decode()}"))
            case b"R" | b"\x81":
                given, named = stack.pop(), stack.pop()
                stack.append(_object(named.of, given))
            case b"b":
                state, made = stack.pop(), stack.pop()
                made.state = state
                stack.append(UUID(int=state["int"]) if made.of == "uuid.UUID" else made)
            case _:
                raise ValueError(f"it has the instruction {code!r}, which makes no plain value")

    def _gather(self, code: bytes) -> None:
        stack = self._stack
        at = len(stack) - 1 - stack[::-1].index(_MARK)
        values = stack[at + 1 :]
        del stack[at:]
        match code:
            case b"e":
                stack[-1].extend(values)
            case b"u":
                stack[-1].update(zip(values[::2], values[1::2], strict=True))
            case b"\x90":
                stack[-1].update(values)
            case _:
                stack.append(tuple(values))

    def _floats(self) -> None:
        """As many as follow each other: each is its instruction and eight bytes."""
        rest = (len(self._data) - self._at + 1) // 9
        codes = np.frombuffer(self._data, np.uint8, rest * 9, self._at - 1).reshape(rest, 9)
        others = np.flatnonzero(codes[:, 0] != _FLOAT)
        count = int(others[0]) if len(others) else rest
        if not count:
            raise ValueError("it is cut short")
        self._stack.extend(np.ascontiguousarray(codes[:count, 1:]).view(">f8")[:, 0].tolist())
        self._at += count * 9 - 1

    def _number(self, kind: str) -> int:
        (number,) = struct.unpack(kind, self._bytes(struct.calcsize(kind)))
        return int(number)

    def _bytes(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        if len(data) < count:
            raise ValueError("it is cut short")
        self._at += count
        return data


def _object(name: str, given: Any) -> Any:
    if name in _TIMES and all(isinstance(each, (bytes, int, timedelta, timezone)) for each in given):
        return _TIMES[name](*given)
    if given:
        raise ValueError(f"it calls {name}, and nothing in it is called")
    return Object(name)
