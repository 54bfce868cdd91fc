"""The ways of decoding in which a calibration is checked, and which of them a job is most like. Free of torch."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from unembed.schemas import GREEDY, DecodeOptions

_GREEDILY: Final = "greedily (`--fast`)"
BY_DEFAULT: Final = "by default"
_EDITED: Final = "`--edits 2`"
_SEEN_GREEDILY: Final = "greedily (`--fast --round-trip`)"
_SEEN_BY_DEFAULT: Final = "by default (`--round-trip`)"
_EMBEDDED: Final = "`--embed 8`"
_SEEN_EDITED: Final = "`--edits 2 --embed 8`"

BLIND_WAYS: Final[Mapping[str, DecodeOptions]] = {_GREEDILY: GREEDY, BY_DEFAULT: DecodeOptions()}
SEEN_WAYS: Final[Mapping[str, DecodeOptions]] = {  # the texts are embedded again
    _SEEN_GREEDILY: DecodeOptions(candidates=1, round_trip=True),
    _SEEN_BY_DEFAULT: DecodeOptions(round_trip=True),
    _EMBEDDED: DecodeOptions(embed=8),
}
# Where there is a sketch.
EDITED: Final[Mapping[str, DecodeOptions]] = {_EDITED: DecodeOptions(edits=2)}
SEEN_EDITED: Final[Mapping[str, DecodeOptions]] = {_SEEN_EDITED: DecodeOptions(edits=2, embed=8)}


def nearest_way(options: DecodeOptions, checked: Container[str]) -> str | None:
    """Of the ways that were checked, the one that a job with these options is most like; None: none of them is."""
    greedy = options.width == 1
    edited = options.rounds > DecodeOptions().rounds
    blind = [_EDITED] if edited else [_GREEDILY] if greedy else []
    seen: list[str] = []
    if options.embed or options.round_trip:
        seen += [_SEEN_EDITED] if edited else []
        seen += [_EMBEDDED] if options.embed else []
        seen += [_SEEN_GREEDILY] if greedy else []
        seen += [_SEEN_BY_DEFAULT]
    return next((way for way in (*seen, *blind, BY_DEFAULT) if way in checked), None)
