"""Where workers may read and write files themselves: under the roots that the operator names, and nowhere else.

A URI is taken literally: what could be read in two ways is refused rather than interpreted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from unembed.errors import RootsError

FILE: Final = "file"
SCHEMES: Final = (FILE, "s3", "gs", "https")
EXPECTED: Final = "expected file:///folder/name, s3://bucket/name, gs://bucket/name or https://host/name"

_URI: Final = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://(?P<host>[^/]*)(?P<path>/.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Location:
    """A URI in its parts. The path is absolute; of a file it has no host."""

    scheme: str
    host: str
    path: str

    @property
    def is_local(self) -> bool:
        return self.scheme == FILE

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"


@dataclass(frozen=True, slots=True)
class Roots:
    """The folders, buckets and sites that are allowed; none: nothing is."""

    locations: tuple[Location, ...] = ()
    setting: str = "UNEMBED_CORPUS_ROOTS"

    @classmethod
    def of(cls, roots: Iterable[str], setting: str = "UNEMBED_CORPUS_ROOTS") -> Roots:
        """Raises RootsError for one that is no root."""
        return cls(tuple(as_root(root) for root in roots), setting)

    def require(self, uri: str) -> Location:
        """Where the URI leads, symbolic links resolved. Raises RootsError unless that is under one of the roots."""
        if not self.locations:
            raise RootsError(f"{shown(uri)} cannot be used: {self.setting} names no root here, so references are off")
        location = parse(uri)
        real = without_links(location)
        if not any(_contains(root, real) for root in self.locations):
            allowed = ", ".join(map(str, self.locations))
            raise RootsError(f"{shown(uri)} is not under an allowed root; {self.setting} allows {allowed}")
        return real


def as_uri(place: str | os.PathLike[str]) -> str:
    """A path on this machine as a URI; a URI as it is."""
    given = os.fspath(place)
    return given if "://" in given else f"{FILE}://{Path(given).resolve()}"


def as_root(root: str) -> Location:
    """A root as an operator writes it: an absolute path, or a URI. Raises RootsError."""
    if "://" not in root and not root.startswith("/"):
        raise RootsError(f"{shown(root)} is no absolute path and no URI; {EXPECTED}")
    location = parse(root if "://" in root else f"{FILE}://{root}")
    if location.is_local and location.path == "/":
        raise RootsError(f"{shown(root)} is the whole file system; expected a folder in it")
    return location


def parse(uri: str) -> Location:
    """The parts of a URI. Raises RootsError for one that is no plain URI of a known scheme."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise RootsError(f"{shown(uri)} is no URI; {EXPECTED}")
    scheme, host, path = found["scheme"].lower(), found["host"], (found["path"] or "").rstrip("/")
    if scheme not in SCHEMES:
        raise RootsError(f"{shown(uri)} has the scheme {scheme!r}; {EXPECTED}")
    if "@" in host:
        raise RootsError(f"{shown(uri)} has credentials in it; give them to the workers in their environment")
    if odd := next((char for char in uri if char in "?#%\\" or not char.isprintable()), None):
        raise RootsError(f"{shown(uri)} has the character {odd!r}; expected a plain path, not encoded, without a query")
    if (scheme == FILE) == bool(host):
        raise RootsError(f"{shown(uri)} has {'a' if host else 'no'} host; {EXPECTED}")
    if any(part in ("", ".", "..") for part in path.split("/")[1:]):
        raise RootsError(f"{shown(uri)} has '.', '..' or nothing between two slashes; expected a path without them")
    return Location(scheme, host.lower() if scheme == "https" else host, path or "/")


def shown(uri: str) -> str:
    """The URI as a message may show it: without credentials, without a query, and not too long."""
    bare = re.sub(r"(://)[^/]*@", r"\1***@", re.sub(r"\?.*", "?***", uri, flags=re.DOTALL))
    return repr(bare if len(bare) <= 300 else f"{bare[:300]}...")


def without_links(location: Location) -> Location:
    """Where symbolic links lead; the storages of other schemes have none."""
    if not location.is_local:
        return location
    return Location(FILE, "", os.path.realpath(location.path))


def _contains(root: Location, location: Location) -> bool:
    real = without_links(root)
    if (real.scheme, real.host) != (location.scheme, location.host):
        return False
    return location.path.startswith("/" if real.path == "/" else f"{real.path}/")
