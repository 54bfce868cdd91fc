"""Where errors of the libraries become errors of Unembed: one line that says what was found and what was expected.

Whatever leaves a program for a person goes through `as_unembed_error`. Only what nobody foresaw is called a fault of
Unembed; with UNEMBED_DEBUG=1 the traceback of each foreign error is shown as well.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from typing import Any, Final, NoReturn, Protocol

from unembed.errors import InputError, QueueUnavailableError, StoreUnavailableError, UnavailableError, UnembedError

DEBUG_VARIABLE: Final = "UNEMBED_DEBUG"
_SHOWN_CHARACTERS: Final = 100  # of a value that is refused
_SHOWN_ERRORS: Final = 5
_LONGEST_LINE: Final = 400

# What pydantic expected, by the type of its error, where its own message is not plain enough. Filled in from `ctx`.
_EXPECTED: Final = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "string_pattern_mismatch": "a string that matches {pattern}",
    "byte_size": "a number of bytes, or one with a unit: 65536, 64MB, 4GiB",
    "byte_size_unit": "a number of bytes, or one with a unit: 65536, 64MB, 4GiB",
}
_CHOICES: Final = ("literal_error", "enum")
_PREAMBLE: Final = re.compile(r"^\w+ should (be|have) ")


class Invalid(Protocol):
    """Pydantic's ValidationError, and FastAPI's."""

    def errors(self) -> Sequence[Any]: ...


def describe(
    error: Invalid,
    *,
    name: Callable[[str], str] = str,
    secret: Collection[str] = (),
    known: Collection[str] = (),
) -> str:
    """What pydantic refused, as one line: each field, its value, and what was expected instead.

    `name` turns a field's dotted name into the one that the reader gave it: a flag, an environment variable. The values
    of the fields in `secret` are not shown. `known` are the names among which an unknown one may be meant.
    """
    found = error.errors()
    lines = list(dict.fromkeys(_line(each, name, secret, known) for each in found))
    more = [f"and {len(lines) - _SHOWN_ERRORS} more"] if len(lines) > _SHOWN_ERRORS else []
    return ". ".join(lines[:_SHOWN_ERRORS] + more)


def did_you_mean(given: str, known: Collection[str]) -> str:
    """`. Did you mean 'x'?`, to be said after what was not known; nothing where no name is near."""
    near = get_close_matches(given, known, n=1) or get_close_matches(given.lower(), known, n=1)
    return f". Did you mean {near[0]!r}?" if near else ""


def unknown_name(what: str, given: str, known: Collection[str]) -> str:
    """An unknown name, the names there are, and the one that was probably meant."""
    said = f"unknown {what} {given!r}" + (f"; there are: {', '.join(sorted(known))}" if known else "")
    return said + did_you_mean(given, known)


def as_unembed_error(error: BaseException) -> UnembedError:
    """The error itself if it is ours, else what to tell a person in its place, on one line."""
    if isinstance(error, UnembedError):
        return error
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if "pydantic_core._pydantic_core.ValidationError" in kinds:
        return InputError(describe(error))  # type: ignore[arg-type]
    if isinstance(error, UnicodeError):
        return InputError(f"a text cannot be read or written: {_one_line(error)}")
    for kind, (answer, said) in _ANSWERS.items():
        if kind in kinds:
            return answer(f"{said}: {_one_line(error)}")
    if isinstance(error, OSError):
        return UnembedError(_of_the_system(error))
    return UnembedError(
        f"this is a fault in unembed: {type(error).__name__}: {_one_line(error)}; run again with "
        f"{DEBUG_VARIABLE}=1 for the details"
    )


def show_traceback(error: BaseException) -> None:
    """On stderr, if UNEMBED_DEBUG asks for it and the error says more than its line."""
    if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0") and not isinstance(error, UnembedError):
        traceback.print_exception(error)


def end_with(error: Exception) -> NoReturn:
    """Ends the process with one line on stderr and the error's exit code. For programs without the command line."""
    show_traceback(error)
    known = as_unembed_error(error)
    print(f"error: {known.message}", file=sys.stderr)
    sys.exit(known.exit_code)


# By name, so that nobody has to import a library only to be told that it failed.
_ANSWERS: Final[dict[str, tuple[type[UnembedError], str]]] = {
    "redis.exceptions.RedisError": (QueueUnavailableError, "Redis cannot be used"),
    "kombu.exceptions.OperationalError": (QueueUnavailableError, "Redis cannot be used"),
    "sqlalchemy.exc.SQLAlchemyError": (StoreUnavailableError, "the database cannot be used"),
    "sqlite3.Error": (StoreUnavailableError, "the database cannot be used"),
    "alembic.util.exc.CommandError": (StoreUnavailableError, "the database's tables cannot be used"),
    "httpx2.HTTPError": (UnavailableError, "the server cannot be reached"),
    "httpx2.InvalidURL": (InputError, "an address cannot be used"),
}


def reason_of(error: OSError) -> str:
    """Why the system refused, with the name of its number."""
    name = f" ({errno.errorcode[error.errno]})" if error.errno is not None and error.errno in errno.errorcode else ""
    return f"{error.strerror or _one_line(error)}{name}"


def _of_the_system(error: OSError) -> str:
    where = " and ".join(repr(os.fspath(each)) for each in (error.filename, error.filename2) if each is not None)
    return f"cannot use {where}: {reason_of(error)}" if where else f"the system refused: {reason_of(error)}"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"


def _line(error: Any, name: Callable[[str], str], secret: Collection[str], known: Collection[str]) -> str:
    kind, place, context = error["type"], error["loc"], error.get("ctx", {})
    field = ".".join(map(str, place))
    if kind == "json_invalid":
        return f"this is not JSON: {context['error']}" + (f" at character {place[-1]}" if place else "")
    if kind == "extra_forbidden":
        return unknown_name("field", field, known)
    said = str(context["error"]) if kind == "value_error" else error["msg"]
    if not place:  # of several fields together, which a message of our own names
        return said
    if kind == "missing":
        return f"{name(field)} is missing"
    secretly = any(str(step) in secret for step in place)
    found = "is set, but not usable" if secretly else f"is {_shown(error.get('input'))}"
    if kind == "value_error":
        return f"{name(field)} {found}: {said}"
    bounds = {
        key: int(bound) if isinstance(bound, float) and bound.is_integer() else bound for key, bound in context.items()
    }
    expected = _EXPECTED[kind].format(**bounds) if kind in _EXPECTED else _PREAMBLE.sub("", said)
    meant = (
        "" if secretly or kind not in _CHOICES else did_you_mean(str(error.get("input")), _words(context["expected"]))
    )
    return f"{name(field)} {found}; expected {expected}{meant}"


def _words(expected: str) -> list[str]:
    """Of what pydantic says that it expected: 'all' or 'none'."""
    return re.findall(r"'([^']*)'", expected)


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
