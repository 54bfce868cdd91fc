"""What options of decoding need of a decoder. Free of torch, so that the API can refuse a job before it is queued."""

from __future__ import annotations

from unembed.errors import InputError
from unembed.schemas import DecodeOptions


def check_needs(options: DecodeOptions, decoder: str, *, encoder: str | None, sketched: bool) -> None:
    """Raises InputError when options ask for an encoder or a sketch that the decoder of this name does not have."""
    if encoder is None and (options.embed or options.round_trip):
        asked, without = embeds(options)
        raise InputError(f"{asked}, which needs an encoder, but the decoder {decoder!r} names none; expected {without}")
    if options.rank_by == "sketch" and not sketched:
        raise InputError(
            f"rank_by is 'sketch', but the decoder {decoder!r} has no sketch; expected 'decoder' or 'auto'"
        )
    if options.edits and not sketched:
        raise InputError(f"edits is {options.edits}, but the decoder {decoder!r} has no sketch to edit by; expected 0")


def embeds(options: DecodeOptions) -> tuple[str, str]:
    """The option by which texts are embedded again, in words, and its value without."""
    return (f"embed is {options.embed}", "0") if options.embed else ("round_trip is true", "false")
