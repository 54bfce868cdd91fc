"""What a caller hands in, as what can be sent. Whatever cannot is an InputError that names it."""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from unembed.boundary import describe
from unembed.errors import InputError

M = TypeVar("M", bound=BaseModel)

F = TypeVar("F", bound=Callable[..., object])

_LONGEST_KEY: Final = 200  # characters
_LONGEST_QUERY: Final = 8000  # characters; servers take no longer URLs
_SHOWN: Final = 100  # characters of what was given


def checked(kind: type[M], **fields: Any) -> M:
    """The value; InputError that names the field and what was expected."""
    for name, value in fields.items():
        if isinstance(value, str):
            _require_sendable(name, value)
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise InputError(describe(error, secret=("secret",))) from None


def in_path(what: str, name: object) -> str:
    """An id or a name as one step of a path, whatever characters it has."""
    if not isinstance(name, str) or not name or name in (".", ".."):
        raise InputError(f"{what} is {_shown(name)}; expected a text such as client.jobs() or client.decoders() list")
    _require_sendable(what, name)
    return quote(name, safe="")


def seconds(what: str, given: object) -> float:
    """A number of seconds that is not negative."""
    number = _number(given)
    if number is None or number < 0:
        raise InputError(f"{what} is {_shown(given)}; expected a number of seconds, 0 or more")
    return number


def count(what: str, given: object, least: int = 0) -> int:
    try:
        number = -1 if isinstance(given, bool) else operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < least:
        raise InputError(f"{what} is {_shown(given)}; expected a whole number, {least} or more")
    return number


def header(what: str, given: object, longest: int = _LONGEST_KEY) -> str:
    """What can travel in a header."""
    if not isinstance(given, str) or not given or len(given) > longest or not (given.isascii() and given.isprintable()):
        raise InputError(f"{what} is {_shown(given)}; expected printable ASCII, 1 to {longest} characters")
    return given


def params(**given: Any) -> dict[str, Any]:
    """The parameters of a query, without those that are None."""
    kept = {name: value for name, value in given.items() if value is not None}
    for name, value in kept.items():
        listed = list(value) if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(each, (str, int, float)) for each in listed):
            raise InputError(f"{name} is {_shown(value)}; expected texts or numbers")
        _require_sendable(name, "".join(map(str, listed)))
        if sum(len(str(each)) for each in listed) > _LONGEST_QUERY:
            raise InputError(f"{name} is {_shown(value)}, which is too long to be sent")
    return kept


def text(what: str, given: object) -> str | None:
    """A text, or None; one that can be sent."""
    if given is not None and not isinstance(given, str):
        raise InputError(f"{what} is {_shown(given)}; expected a text")
    if given is not None:
        _require_sendable(what, given)
    return given


def names(what: str, given: object) -> list[str]:
    """Texts in a list; None is an empty one."""
    if given is None:
        return []
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, str) for each in given):
        raise InputError(f"{what} is {_shown(given)}; expected the names of columns, in a list")
    for each in given:
        _require_sendable(what, each)
    return list(given)


def choice(what: str, given: object, allowed: Sequence[str]) -> str:
    if not isinstance(given, str) or given not in allowed:
        raise InputError(f"{what} is {_shown(given)}; expected one of {', '.join(allowed)}")
    return given


def function(what: str, given: F) -> F:
    if not callable(given):
        raise InputError(f"{what} is {_shown(given)}; expected a function")
    return given


def place(what: str, given: object) -> str:
    """A path or URI."""
    try:
        found = os.fspath(given)  # type: ignore[call-overload]
    except TypeError:
        found = None
    if not isinstance(found, str) or not found or "\0" in found:
        raise InputError(f"{what} is {_shown(given)}; expected a path or URI")
    _require_sendable(what, found)
    return found


def flag(what: str, given: object) -> bool:
    if not isinstance(given, bool):
        raise InputError(f"{what} is {_shown(given)}; expected True or False")
    return given


def _require_sendable(what: str, given: str) -> None:
    try:
        given.encode()
    except UnicodeEncodeError:
        raise InputError(f"{what} is {_shown(given)}, which has characters that cannot be sent") from None


def _shown(given: object) -> str:
    text = " ".join(repr(given).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _number(given: object) -> float | None:
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        return None
    try:
        number = float(given)
    except OverflowError:
        return None
    return None if math.isnan(number) else number
