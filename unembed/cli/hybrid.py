"""`unembed hybrid`: a decoder and a phrase bank under one name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unembed.cli import options as given
from unembed.cli.console import say
from unembed.cli.decode_flags import decode_options, flag
from unembed.cli.encoder_options import CheckpointEncoder
from unembed.cli.extras import needs
from unembed.cli.spending import Yes
from unembed.corpus.named import FORMS
from unembed.errors import InputError
from unembed.schemas import DEFAULT_DECODER


def hybrid(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write; its name becomes the decoder's name.")],
    bank: Annotated[
        str | None, typer.Option(help="The phrase bank's name. Without one, some rows may have no text.")
    ] = None,
    decoder: given.Decoder = DEFAULT_DECODER,
    dev: Annotated[
        list[str] | None,
        typer.Option("--dev", help=f"Texts to learn from when to prefer which: {FORMS}."),
    ] = None,
    candidates: Annotated[int, flag("candidates")] = 8,
    embed: Annotated[int, flag("embed")] = 8,
    margin: Annotated[
        float,
        typer.Option(
            min=-2.0, max=2.0, help="Without --dev: prefer the decoder unless the phrase is nearer by this cosine."
        ),
    ] = 0.1,
    floor: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Reject decoded texts with a lower overall_quality than this.")
    ] = 0.0,
    encoder: CheckpointEncoder = None,
    yes: Yes = False,
    device: given.Device = "auto",
    precision: given.Precision = "auto",
) -> None:
    """Join a decoder and a phrase bank.

    Both must lie beside the new folder or in UNEMBED_DECODERS, or ship with unembed.
    """
    options = decode_options(candidates=candidates, embed=embed)
    if dev and bank is None:
        raise InputError("--dev needs a phrase bank to compare the decoder with; expected --bank too")
    with needs("train"):
        from unembed.models.decoder.config import HybridConfig
        from unembed.models.decoder.hybrid import load_parts, save_hybrid
        from unembed.models.evaluation.rule import learn_rule
    network, phrases = load_parts(out, decoder, bank, device, precision)
    known_from = None
    if dev and phrases is not None:
        lines, vectors = _held_out(dev, network.encoder)
        rule = learn_rule(network, phrases, lines, vectors, options)
        margin, known_from = rule.margin, rule.known_from
        near = "" if rule.hybrid_cosine is None else f", its cosine {rule.hybrid_cosine:.3f}"
        say(
            f"on {rule.rows:,} held-out texts: margin {margin:.3f}, known from {known_from:.3f}; word F1 of the "
            f"decoder {rule.network_f1:.3f}, of the bank {rule.bank_f1:.3f}, of the hybrid {rule.hybrid_f1:.3f}{near}"
        )
        if network.borrows(options):
            say(
                f"{decoder!r} has a sketch, so it ranks the phrases with its own texts; "
                "margin and nearness count only with --rank-by decoder"
            )
    config = HybridConfig(
        name=out.resolve().name,
        embedding_dim=network.embedding_dim,
        decoder=decoder,
        bank=bank,
        encoder=network.encoder,
        margin=margin,
        known_from=known_from,
        floor=floor,
    )
    save_hybrid(out, config)
    say(f"wrote the hybrid {config.name!r} of {decoder!r} and {bank or 'no bank'!r} to {out}")


def _held_out(dev: list[str], encoder: str | None) -> tuple[list[str], Any]:
    """The texts of all sets and their embeddings (N, D)."""
    import numpy as np

    from unembed.models.evaluation.text_sets import Library, TextSet

    texts, vectors = Library(encoder, None, say).read_all(list(map(TextSet.parse, dev)))
    return texts, np.asarray(vectors, np.float32)
