"""The ways of decoding that `quality.py` compares, and what each is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from unembed.models.decoder.base import TextDecoder
from unembed.models.decoder.config import HybridConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.hybrid import HybridDecoder
from unembed.models.decoder.phrase_bank import PhraseBankDecoder
from unembed.models.encoders.registry import is_installed
from unembed.schemas import GREEDY, DecodeOptions

Kind = Literal["decoder", "sketch", "encoder", "bank"]
Part = Literal["network", "bank", "hybrid"]
KINDS: Final[Mapping[Kind, str]] = {
    "decoder": "the decoder alone",
    "sketch": "with the sketch",
    "encoder": "with the encoder",
    "bank": "with a phrase bank",
}
USUAL: Final = DecodeOptions()


@dataclass(frozen=True)
class DecodingWay:
    """`name` is what the chart says; `kind` is the dearest thing that it needs."""

    name: str
    kind: Kind
    options: DecodeOptions = USUAL
    part: Part = "network"

    @property
    def flags(self) -> str:
        """What `unembed decode` is told, in Markdown."""
        if self.part == "bank":
            return "the nearest phrase"
        given = self.options.model_dump(exclude_defaults=True)
        told = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in given.items())
        if self.options == GREEDY:
            told = "--fast"
        flags = f"`{told}`" if told else "nothing"
        return f"{flags}, as a hybrid" if self.part == "hybrid" else flags


WAYS: Final = (
    DecodingWay("greedy", "decoder", GREEDY),
    DecodingWay("8 beams", "decoder", DecodeOptions(candidates=8, rank_by="decoder")),
    DecodingWay("32 beams", "decoder", DecodeOptions(candidates=32, rank_by="decoder")),
    DecodingWay("default", "sketch"),
    DecodingWay("8, no edits", "sketch", DecodeOptions(candidates=8, edits=0)),
    DecodingWay("32, no edits", "sketch", DecodeOptions(candidates=32, edits=0)),
    DecodingWay("8", "sketch", DecodeOptions(candidates=8)),
    DecodingWay("2 edits", "sketch", DecodeOptions(edits=2)),
    DecodingWay("8, 2 edits", "sketch", DecodeOptions(candidates=8, edits=2)),
    DecodingWay("16, 3 edits", "sketch", DecodeOptions(candidates=16, edits=3)),
    DecodingWay("32, 4 edits", "sketch", DecodeOptions(candidates=32, edits=4)),
    DecodingWay("embed 8, no edits", "encoder", DecodeOptions(candidates=16, embed=8, edits=0)),
    DecodingWay("16, embed 8", "encoder", DecodeOptions(candidates=16, embed=8, edits=3)),
    DecodingWay("16, embed 16", "encoder", DecodeOptions(candidates=16, embed=16, edits=3)),
    DecodingWay("16, embed 32", "encoder", DecodeOptions(candidates=16, embed=32, edits=3)),
)
WITH_BANK: Final = (
    DecodingWay("nearest phrase", "bank", GREEDY, "bank"),
    DecodingWay("hybrid", "bank", USUAL, "hybrid"),
    DecodingWay("hybrid, 16, 3 edits", "bank", DecodeOptions(candidates=16, edits=3), "hybrid"),
    DecodingWay("hybrid, 16, embed 8", "bank", DecodeOptions(candidates=16, embed=8, edits=3), "hybrid"),
    DecodingWay("hybrid, 16, embed 32", "bank", DecodeOptions(candidates=16, embed=32, edits=3), "hybrid"),
)


def ways_for(network: GenerativeDecoder, *, bank: bool) -> tuple[DecodingWay, ...]:
    """Those that can be gone with what is there."""
    sketched = network.checkpoint.sketch is not None
    seeing = network.encoder is not None and is_installed(network.encoder)
    return tuple(
        way
        for way in (*WAYS, *(WITH_BANK if bank else ()))
        if (sketched or not (way.kind == "sketch" or way.options.edits)) and (seeing or not way.options.embed)
    )


def decoders_for(network: GenerativeDecoder, bank: PhraseBankDecoder | None) -> Mapping[Part, TextDecoder]:
    """By the part of a way; the hybrid's rule is the one that it has before it has learnt its own."""
    decoders: dict[Part, TextDecoder] = {"network": network}
    if bank is not None:
        config = HybridConfig(name="hybrid", embedding_dim=network.embedding_dim, decoder=network.name, bank=bank.name)
        decoders |= {"bank": bank, "hybrid": HybridDecoder(config, network, bank)}
    return decoders
