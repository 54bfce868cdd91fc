"""Which encoders may run here. Free of torch.

An encoder can run Python code (module:function), send texts to a server (openai:), or download (a name of the Hub). A
person who names one on the command line means it. A checkpoint that names one may come from anywhere, so what it names
runs only where it is one that Unembed knows, or `UNEMBED_ENCODERS` lists it (docs/decisions/0022).
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Final

from unembed.errors import SettingsError, UnembedError
from unembed.models.encoders.folders import Located, locate
from unembed.models.encoders.hub import pinned
from unembed.models.encoders.spec import SHORT, parse_spec

ALLOWED: Final = "UNEMBED_ENCODERS"
_named_here: Final[dict[str, Located]] = {}  # by what is run, for this process


def permit(text: str) -> str:
    """Lets this process run what a person has named; the canonical SPEC, which a checkpoint may hold.

    Raises InputError for what is no SPEC, and for a folder that is not there.
    """
    found = pinned(locate(parse_spec(text)))
    _named_here[found.spec.runs] = found
    return str(found.spec)


def permitted(text: str) -> Located | None:
    """The encoder, if it may run here. Raises InputError for what is no SPEC, SettingsError for a list with faults."""
    spec = parse_spec(text)
    if spec.kind == SHORT:
        return locate(spec)
    allowed = _named_here.get(spec.runs) or _listed(os.environ.get(ALLOWED, "")).get(spec.runs)
    return None if allowed is None else Located(spec, allowed.folder)


def allowed_specs() -> tuple[str, ...]:
    """What the operator allows, in canonical form. Raises SettingsError."""
    return tuple(str(one.spec) for one in _listed(os.environ.get(ALLOWED, "")).values())


@lru_cache(maxsize=4)
def _listed(text: str) -> dict[str, Located]:
    """By what is run, what the operator allows, and where it is. Commas separate them; one within is %2C."""
    found = {}
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            one = locate(parse_spec(part))
        except UnembedError as error:
            raise SettingsError(f"{ALLOWED}: {error.message}") from None
        found[one.spec.runs] = one
    return found
