"""A JSON document read a window at a time, so that a list in it may be larger than the memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TextIO

_WINDOW: Final = 1024 * 1024  # characters
_LONGEST: Final = 256 * _WINDOW  # of one value that is read whole
_SPACE: Final = " \t\r\n"
_ENDS: Final = (*_SPACE, ",", "]", "}")  # what follows a number
_DECODER: Final = json.JSONDecoder()


class JsonStream:
    """Walks through one document. What begins has to be read to its end. Raises ValueError for what is no JSON."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at = file, "", 0

    def peek(self) -> str:
        """The character that the next value or sign begins with; '' at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > _LONGEST or not self._more():
                    raise ValueError(f"a value cannot be read: {error}") from error
                continue
            if isinstance(value, (int, float)) and self._text[end : end + 1] not in _ENDS and self._more():
                continue  # a number goes on: `0.` is read as 0
            self._at = end
            return value

    def items(self) -> Iterator[Any]:
        """The items of the list that begins here."""
        self._take("[")
        yield from (self.value() for _ in self._inside("]"))

    def keys(self) -> Iterator[str]:
        """The keys of the object that begins here; whoever asks reads each value before the next key."""
        self._take("{")
        for _ in self._inside("}"):
            key = self.value()
            self._take(":")
            yield str(key)

    def _inside(self, end: str) -> Iterator[None]:
        if self.peek() == end:
            self._take(end)
            return
        yield
        while self.peek() == ",":
            self._take(",")
            yield
        self._take(end)

    def _take(self, sign: str) -> None:
        found = self.peek()
        if found != sign:
            raise ValueError(f"there is {found!r} where {sign!r} should be" if found else "it ends too soon")
        self._at += 1

    def _more(self) -> bool:
        left = len(self._text) - self._at
        text = self._file.read(max(_WINDOW, left))  # twice as much each time, as what is left is tried again
        self._text, self._at = self._text[self._at :] + text, 0
        return bool(text)
