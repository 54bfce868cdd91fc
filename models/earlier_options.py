"""Options of decoding that an earlier version stored, in today's words: those of jobs, and defaults in a config.json.

In those versions there were `rounds`, and greedy was the default. Several candidates came from four times as many
beams, up to 32, and were ranked by the encoder where it was at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_THEN: Final[Mapping[str, Any]] = {"candidates": 1, "rank_by": "auto", "beams": None, "temperature": 0.0}
_NEW: Final = ("embed", "edits")


def are_earlier(options: Mapping[str, Any]) -> bool:
    """Whether only an earlier version can have written these."""
    return "rounds" in options or options.get("rank_by") == "encoder"


def renewed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that decode as these did then, except that there is one round; what was not named is named."""
    found = dict(_THEN) | {name: value for name, value in options.items() if name != "rounds"}
    candidates = found["candidates"]
    by_encoder = candidates > 1 and found["rank_by"] != "decoder"
    if found["rank_by"] == "encoder":
        found["rank_by"] = "auto"
    if candidates > 1 and found["beams"] is None and found["temperature"] == 0.0:
        found["beams"] = max(candidates, min(32, 4 * candidates))
    return found | {"embed": candidates if by_encoder else 0, "edits": 0}


def renewed_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a decoder: what somebody chose is as it was, and where greedy was the default, today's is."""
    found = renewed(options)
    if found["candidates"] == _THEN["candidates"] and found["beams"] is None:
        return {name: value for name, value in found.items() if name not in ("candidates", *_NEW)}
    return found


def reverted(options: Mapping[str, Any]) -> dict[str, Any]:
    """Today's options in the words of then, as nearly as those can say it."""
    found = {"candidates": 5, "rank_by": "auto", "temperature": 0.0} | dict(options)
    embed = found.pop("embed", 0)
    found.pop("edits", None)
    if found.get("beams") is None and found["temperature"] == 0.0:
        found["beams"] = found["candidates"]
    return found | {"rank_by": "auto" if embed else "decoder"}
