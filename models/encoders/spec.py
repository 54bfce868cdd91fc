"""SPEC: how an encoder is named, on the command line, in settings and in checkpoints.

    all-MiniLM-L6-v2                                            one that Unembed knows
    sentence-transformers:intfloat/e5-small-v2?prefix=query: &dim=256   KIND:NAME, options after ? as in a URL
    my_package.embedding:embed                                  a Python function of one's own

Free of torch. A SPEC has one canonical form, which `str` gives: options in alphabetical order, percent-encoded where a
shell or a URL would read them otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit

from unembed.errors import InputError
from unembed.models.encoders.known import KNOWN

# The options that each kind takes; those in `_EVERY` are for all of them.
KINDS: Final[Mapping[str, frozenset[str]]] = {
    "sentence-transformers": frozenset({"revision", "sha256"}),
    "openai": frozenset({"url"}),
    "fastembed": frozenset(),
    "model2vec": frozenset({"revision", "sha256"}),
}
OPENAI_URL: Final = "https://api.openai.com/v1"  # of openai: without a url
FUNCTION: Final = "function"
SHORT: Final = "known"  # the kind of a short name
_EVERY: Final = frozenset({"dim", "prefix"})
_FUNCTION: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_PLAIN: Final = "/:.-_~@"  # what is not percent-encoded in the value of an option
_MOST_DIMS: Final = 65_536


@dataclass(frozen=True)
class Spec:
    """An encoder's name, taken apart."""

    kind: str  # one of KINDS, FUNCTION, or SHORT
    name: str
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        head = self.name if self.kind in (SHORT, FUNCTION) else f"{self.kind}:{self.name}"
        given = "&".join(f"{key}={quote(value, safe=_PLAIN)}" for key, value in sorted(self.options.items()))
        return f"{head}?{given}" if given else head

    @property
    def runs(self) -> str:
        """What is run, whatever is done to its texts before and to its vectors after, and whichever its revision."""
        deciding = {key: value for key, value in self.options.items() if key in ("sha256", "url")}
        return str(replace(self, options=deciding))

    @property
    def dim(self) -> int | None:
        """To how many dimensions the vectors are cut."""
        return int(self.options["dim"]) if "dim" in self.options else None

    @property
    def prefix(self) -> str:
        """What is put before each text."""
        return self.options.get("prefix", "")

    def with_options(self, **options: str) -> Self:
        return replace(self, options=MappingProxyType({**self.options, **options}))


def parse_spec(text: str) -> Spec:
    """Raises InputError, saying what is wrong with it and what there is."""
    head, _, given = text.partition("?")
    kind, colon, name = head.partition(":")
    if head in KNOWN:
        return Spec(SHORT, head, _options(text, given, _EVERY))
    if colon and kind in KINDS:
        if not name.strip():
            raise InputError(f"the encoder {text!r} names no model; expected {kind}:NAME")
        return Spec(kind, name, _options(text, given, _EVERY | KINDS[kind]))
    if _FUNCTION.fullmatch(head):
        return Spec(FUNCTION, head, _options(text, given, _EVERY))
    raise InputError(f"unknown encoder {text!r}; {_advice(kind, colon)}")


def _advice(kind: str, colon: str) -> str:
    if colon:
        return f"expected module:function, or one of the kinds {', '.join(f'{one}:' for one in KINDS)}"
    owned = f"; a model of the Hub is sentence-transformers:{kind}" if "/" in kind else ""
    return f"there are: {', '.join(KNOWN)}; or {', '.join(f'{one}:NAME' for one in KINDS)}, module:function{owned}"


def _options(text: str, given: str, allowed: frozenset[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, given.split("&")):
        key, equals, value = part.partition("=")
        if key not in allowed or not equals:
            expected = ", ".join(f"{one}=" for one in sorted(allowed))
            raise InputError(f"the encoder {text!r} has the option {part!r}; expected {expected}, joined by &")
        if key in found:
            raise InputError(f"the encoder {text!r} has the option {key!r} twice; expected it once")
        found[key] = unquote(value)
    if "dim" in found:
        found["dim"] = _dim(text, found["dim"])
    if "url" in found:
        found["url"] = _url(text, found["url"])
        if found["url"] == OPENAI_URL:
            del found["url"]
    if "sha256" in found and not re.fullmatch(r"[0-9a-f]{16,64}", found["sha256"]):
        raise InputError(f"the encoder {text!r} has sha256 {found['sha256']!r}; expected 16 to 64 hexadecimal digits")
    return MappingProxyType(found)


def _dim(text: str, value: str) -> str:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= _MOST_DIMS):
        raise InputError(f"the encoder {text!r} has dim {value!r}; expected a number from 1 to {_MOST_DIMS}")
    return str(int(value))


def _url(text: str, value: str) -> str:
    """Raises InputError for what is no URL, and for one with a password, which must not get into a checkpoint."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"the encoder {text!r} has url {value!r}; expected one like http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            "the encoder's url has a user name, a query or a fragment, which may be secret; expected it without, and "
            "the key in UNEMBED_OPENAI_KEY or OPENAI_API_KEY"
        )
    return value.rstrip("/")
