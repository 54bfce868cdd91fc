"""How to ask servers: how long whoever is turned away waits before they ask again, and whom no proxy leads to.

One rule for the client and for servers of embeddings.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})  # a proxy has no way to this machine's own loopback


def pause(tried: int, headers: Mapping[str, str] | None, *, first: float, longest: float) -> float:
    """Seconds: what the answer's headers ask for, or `first`, doubled with each try; `longest` at most.

    The latter at random, between half of it and all of it: who were turned away together do not come back together.
    """
    asked = None if headers is None else asked_pause(headers)
    if asked is not None:
        return min(asked, longest)
    return min(first * 2.0 ** min(tried, 16), longest) * random.uniform(0.5, 1.0)  # noqa: S311


def asked_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks for, as milliseconds, a number or a date; None where it says nothing readable."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if isfinite(seconds):
            return max(0.0, seconds)
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
