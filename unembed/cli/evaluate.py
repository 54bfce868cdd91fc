"""`unembed evaluate`: the figures of a model card, measured again."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from unembed.cli import options as given
from unembed.cli.console import err, out, say
from unembed.cli.decode_flags import takes_decode_options
from unembed.cli.encoder_options import CheckpointEncoder
from unembed.cli.extras import needs
from unembed.cli.spending import Yes
from unembed.corpus.named import FORMS
from unembed.errors import InputError
from unembed.schemas import DEFAULT_DECODER, DecodeOptions
from unembed.threads import wait_without_spinning


@takes_decode_options
def evaluate(
    *,
    decoder: Annotated[str, typer.Argument(help="A decoder's name, or a checkpoint's folder.")] = DEFAULT_DECODER,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help=f"What to score it on: {FORMS}. May be repeated."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Use only the first N rows of each set.")] = None,
    round_trip: Annotated[
        bool, typer.Option(help="Embed the decoded texts and report the cosine with the given embeddings.")
    ] = True,
    seed: given.Seed = 0,
    options: DecodeOptions,
    encoder: CheckpointEncoder = None,
    yes: Yes = False,
    device: given.Device = "auto",
    precision: given.Precision = "auto",
    examples: Annotated[int, typer.Option(min=0, help="Show this many decoded texts of each set.")] = 5,
    report: Annotated[
        Path | None, typer.Option(help="Also write an HTML page with scores, figures and examples.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Score a decoder on texts: corpus BLEU, chrF, word F1, exact matches and the round-trip cosine."""
    if not sets:
        raise InputError("no texts to score on; expected at least one --set NAME=TEXTS")
    if report is not None:
        _check_report(report)
    wait_without_spinning()
    with needs("train"):
        from unembed.models.decoder.create import load_decoder
        from unembed.models.encoders.registry import encoder_if_it_runs
        from unembed.models.evaluation.measure import measure
        from unembed.models.evaluation.text_sets import Library, TextSet, shown_word

        if report is not None:
            from unembed.models.evaluation.analysis import analyse, doubt_of
            from unembed.models.evaluation.page import Subject, write_report
    model = load_decoder(decoder, device, precision)
    encoder_name = model.encoder
    library = Library(encoder_name, None, say)
    embedder = encoder_if_it_runs(encoder_name, say) if round_trip else None
    scores: dict[str, Any] = {}
    analyses = []
    with err.status("") as status:
        for one in map(TextSet.parse, sets):
            status.update(f"reading {one.name}")
            lines, vectors = library.read(one, rows)

            def show_progress(done: int, name: str = one.name, total: int = len(lines)) -> None:
                status.update(f"decoding {name}: {done:,} of {total:,}")

            measured = measure(model, lines, vectors, embedder, options, seed, show_progress)
            scores[one.name] = asdict(measured.scores)
            if report is not None:
                status.update(f"resampling {one.name}")
                analyses.append(analyse(one.name, lines, measured, doubt_of(model.manifold, vectors)))
            for reference, generation in list(zip(lines, measured.generations, strict=True))[:examples]:
                say(f"  {reference}\n  → {generation.text}\n")
    if report is not None:
        typed = list(sys.argv[1:])
        for given_set in sets:
            typed = [word.replace(given_set, shown_word(given_set)) for word in typed]  # without passwords
        write_report(report, Subject.of(model, options, seed), analyses, shlex.join(["unembed", *typed]))
        say(f"wrote the report to {report}")
    if as_json:
        out.print_json(json.dumps(scores))
    else:
        _show(scores)


def _check_report(path: Path) -> None:
    """Raises InputError, before anything is decoded, for what cannot be written to."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"cannot write {str(path)!r}; expected a name ending in .html")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {str(path)!r}; {str(path.parent)!r} is not a folder")


def _show(scores: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("set", "rows", "BLEU", "chrF", "word F1", "exact", "cosine", "rows/s")
    for name, one in scores.items():
        cosine = "–" if one["round_trip"] is None else f"{one['round_trip']:.3f}"
        table.add_row(
            name,
            f"{one['rows']:,}",
            f"{one['bleu']:.1f}",
            f"{one['chrf']:.1f}",
            f"{one['word_f1']:.3f}",
            f"{one['exact']:.1%}",
            cosine,
            f"{one['rows_per_second']:,.0f}",
        )
    out.print(table)
    for signature in sorted({one[kind] for one in scores.values() for kind in ("bleu_signature", "chrf_signature")}):
        out.print(signature, style="dim")
