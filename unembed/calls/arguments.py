"""What a caller hands in, as what can be sent. Whatever cannot is an InputError that names it."""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from unembed.boundary import describe
from unembed.errors import InputError

M = TypeVar("M", bound=BaseModel)

_LONGEST_KEY = 200  # characters


def checked(kind: type[M], **fields: Any) -> M:
    """The value; InputError that names the field and what was expected."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise InputError(describe(error, secret=("secret",))) from None


def in_path(what: str, name: object) -> str:
    """An id or a name as one step of a path, whatever characters it has."""
    if not isinstance(name, str) or not name or name in (".", ".."):
        raise InputError(f"{what} is {name!r}; expected a text such as client.jobs() or client.decoders() list")
    try:
        return quote(name, safe="")
    except UnicodeEncodeError:
        raise InputError(f"{what} is {name!r}, which has characters that cannot be sent") from None


def seconds(what: str, given: object) -> float:
    """A number of seconds that is not negative."""
    number = _number(given)
    if number is None or number < 0:
        raise InputError(f"{what} is {given!r}; expected a number of seconds, 0 or more")
    return number


def count(what: str, given: object, least: int = 0) -> int:
    try:
        number = -1 if isinstance(given, bool) else operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < least:
        raise InputError(f"{what} is {given!r}; expected a whole number, {least} or more")
    return number


def header(what: str, given: object, longest: int = _LONGEST_KEY) -> str:
    """What can travel in a header."""
    if not isinstance(given, str) or not given or len(given) > longest or not (given.isascii() and given.isprintable()):
        raise InputError(f"{what} is {given!r}; expected printable ASCII, 1 to {longest} characters")
    return given


def params(**given: Any) -> dict[str, Any]:
    """The parameters of a query, without those that are None."""
    kept = {name: value for name, value in given.items() if value is not None}
    for name, value in kept.items():
        listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if not all(isinstance(each, (str, int, float)) for each in listed):
            raise InputError(f"{name} is {value!r}; expected texts or numbers")
        try:
            "".join(map(str, listed)).encode()
        except UnicodeEncodeError:
            raise InputError(f"{name} is {value!r}, which has characters that cannot be sent") from None
    return kept


def place(what: str, given: object) -> str:
    """A path or URI."""
    try:
        found = os.fspath(given)  # type: ignore[call-overload]
    except TypeError:
        found = None
    if not isinstance(found, str) or not found:
        raise InputError(f"{what} is {given!r}; expected a path or URI")
    return found


def _number(given: object) -> float | None:
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        return None
    try:
        number = float(given)
    except OverflowError:
        return None
    return None if math.isnan(number) else number
