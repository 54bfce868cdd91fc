"""Quality against time: `make bench-quality` decodes texts in many ways, and writes docs/quality.md with its charts.

python -m benchmarks.quality --set NAME=TEXTS[,EMBEDDINGS.npy] [--set ...] [--decoder NAME] [--bank FOLDER] [--rows 350]
python -m benchmarks.quality --again          the page and the charts once more, from what was measured before

The first lines of each set are decoded on one thread, a part of them at a time, by all ways in turns. Ctrl-C ends it,
and the parts that are done are written all the same. How near each text is to its vector is measured afterwards, and
is not among the costs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.asked import say
from benchmarks.machine import machine
from benchmarks.quality_page import DATA, write
from benchmarks.quality_ways import DecodingWay, Part, decoders_for, ways_for
from unembed.errors import InputError, UnembedError
from unembed.generations import rows_of
from unembed.models.decoder.base import TextDecoder
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.phrase_bank import PhraseBankDecoder
from unembed.models.decoder.vectors import Vectors
from unembed.models.encoders.base import Encoder, cosines
from unembed.models.encoders.registry import is_installed, shared_encoder
from unembed.models.evaluation.analysis import analyse
from unembed.models.evaluation.measure import Measured
from unembed.models.evaluation.scores import score
from unembed.models.evaluation.text_sets import Library, TextSet
from unembed.schemas import DEFAULT_DECODER, Generation

ROWS: Final = 350  # two sets take about eleven minutes
PARTS: Final = 4  # of a set: how often the ways take turns
WARM: Final = 4  # rows that each way decodes before it is timed
DIGITS: Final = 4

Decoders = Mapping[Part, TextDecoder]


@dataclass(frozen=True)
class Piece:
    """What one way made of a part of the rows."""

    generations: list[Generation]
    seconds: float  # of CPU
    embedded: int  # texts


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    if not given.again:
        try:
            _measure(given, arguments if arguments is not None else sys.argv[1:])
        except UnembedError as error:
            print(f"nothing was measured: {error}", file=sys.stderr)
            return 1
    if not (given.out / DATA).exists():
        print(f"there is no {given.out / DATA}: nothing was measured", file=sys.stderr)
        return 1
    write(given.out)
    say(f"wrote {given.out / 'quality.md'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description="Quality against time.")
    parser.add_argument("--set", dest="sets", action="append", default=[], help="NAME=TEXTS or NAME=TEXTS,VECTORS.npy")
    parser.add_argument("--decoder", default=DEFAULT_DECODER, help="a decoder's name, or its folder")
    parser.add_argument("--bank", type=Path, help="a phrase bank's folder: also its nearest phrase, and a hybrid")
    parser.add_argument("--rows", type=int, default=ROWS, help="lines of each set")
    parser.add_argument("--parts", type=int, default=PARTS, help="how often the ways take turns")
    parser.add_argument("--ways", help="only these, by their names in the chart, with ; between them")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="the folder of quality.md")
    parser.add_argument("--again", action="store_true", help="only write the page, from what was measured before")
    return parser


def _measure(given: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Measures, and writes the numbers. Raises InputError or CheckpointError for what cannot be measured, UnembedError
    when it is stopped before there is anything to write."""
    torch.set_num_threads(1)
    sets: list[TextSet] = [TextSet.parse(one) for one in given.sets]
    if not sets:
        raise InputError("no texts to decode; expected at least one --set NAME=TEXTS")
    if given.rows < 1 or given.parts < 1:
        raise InputError(f"--rows is {given.rows} and --parts {given.parts}; expected 1 or more of both")
    folder = Path(given.decoder)
    network = GenerativeDecoder.load(folder if folder.is_dir() else given.decoder, device="cpu")
    bank = PhraseBankDecoder.load(given.bank, "cpu") if given.bank else None
    ways = ways_for(network, bank=bank is not None)
    if given.ways:
        ways = tuple(way for way in ways if way.name in given.ways.split(";"))
    if not ways:
        raise InputError(f"there are no ways {given.ways!r}; expected names as the chart has them")
    library = Library(network.encoder, None, say)
    found, stopped = [], False
    for one in sets:
        lines, found_vectors = library.read(one, given.rows)
        vectors = np.ascontiguousarray(found_vectors, dtype=np.float32)
        pieces, stopped = in_turns(one.name, decoders_for(network, bank), ways, vectors, given.parts)
        if pieces[ways[0]]:
            found.append(_scored(one.name, network, lines, vectors, pieces))
        if stopped:
            break
    if not found:
        raise UnembedError("it was stopped before the first part was done")
    path = given.out / DATA
    path.parent.mkdir(parents=True, exist_ok=True)
    record = _record(network, bank, arguments) | {"parts": given.parts, "sets": found}
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def in_turns(
    name: str, decoders: Decoders, ways: Sequence[DecodingWay], vectors: Vectors, parts: int
) -> tuple[dict[DecodingWay, list[Piece]], bool]:
    """Of each way the parts that all ways have done; and whether Ctrl-C ended it before the last."""
    done: dict[DecodingWay, list[Piece]] = {way: [] for way in ways}
    try:
        for way in ways:
            decoded(decoders[way.part], way, vectors[:WARM], 0)
        for number, rows in enumerate(np.array_split(np.arange(len(vectors)), min(parts, len(vectors)))):
            begun = time.monotonic()
            turn = {
                way: decoded(decoders[way.part], way, vectors[rows], int(rows[0]))
                for way in ways[:: 1 if number % 2 == 0 else -1]
            }
            for way in ways:
                done[way].append(turn[way])
            took = time.monotonic() - begun
            say(f"{name}: {rows[-1] + 1:,} of {len(vectors):,} rows are done; these took {took:.0f} s")
    except KeyboardInterrupt:
        say(f"stopped: what was done of {name} is kept")
        return done, True
    return done, False


def decoded(decoder: TextDecoder, way: DecodingWay, vectors: Vectors, first: int) -> Piece:
    """Vectors (N, D), of which the first is the `first` row of its set."""
    with patch.object(Encoder, "encode", autospec=True, side_effect=Encoder.encode) as encode:
        begun = time.process_time()
        answered = decoder.decode_rows(vectors, range(first, first + len(vectors)), way.options, 0)
        seconds = time.process_time() - begun
    return Piece(list(rows_of(answered.rows)), seconds, sum(len(call.args[1]) for call in encode.call_args_list))


def _scored(
    name: str,
    network: GenerativeDecoder,
    lines: Sequence[str],
    vectors: Vectors,
    pieces: Mapping[DecodingWay, Sequence[Piece]],
) -> dict[str, Any]:
    written = {way: [one for piece in done for one in piece.generations] for way, done in pieces.items()}
    known = _embeddings(network.encoder, {one.text or "" for every in written.values() for one in every})
    rows = min(map(len, written.values()))
    references = lines[:rows]
    ways = []
    for way, done in pieces.items():
        generations = written[way]
        texts = [one.text or "" for one in generations]
        near = cosines(np.stack([known[text] for text in texts]), vectors[:rows]) if known else None
        seconds = sum(piece.seconds for piece in done)
        measured = Measured(score(texts, references, seconds, near), generations, near)
        intervals = analyse(name, references, measured).intervals
        costs = [1000.0 * piece.seconds / len(piece.generations) for piece in done]
        ways.append(
            {
                "name": way.name,
                "kind": way.kind,
                "flags": way.flags,
                "ms": _rounded({"value": 1000.0 * seconds / rows, "low": min(costs), "high": max(costs)}),
                "embedded": round(sum(piece.embedded for piece in done) / rows, DIGITS),
                **{one: _rounded(asdict(interval)) for one, interval in intervals.items() if one != "chrf"},
            }
        )
    return {"name": name, "rows": rows, "ways": ways}


def _embeddings(encoder: str | None, texts: Iterable[str]) -> dict[str, Vectors]:
    """Each text once, as many ways come to the same; none where the encoder is missing."""
    if encoder is None or not is_installed(encoder):
        return {}
    each = sorted(texts)
    say(f"embedding {len(each):,} texts, to see how near they are")
    return dict(zip(each, shared_encoder(encoder).encode(each), strict=True))


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), DIGITS) for name, value in values.items()}


def _record(network: GenerativeDecoder, bank: PhraseBankDecoder | None, arguments: Sequence[str]) -> dict[str, Any]:
    sketch = network.checkpoint.sketch
    return {
        "command": " ".join(["python -m benchmarks.quality", *map(_without_folders, arguments)]),
        "decoder": network.name,
        "parameters": network.parameters,
        "sketch_rows": None if sketch is None else len(sketch.rows),
        "encoder": network.encoder,
        "precision": network.precision,
        "bank_phrases": None if bank is None else bank.bank.config.phrases,
        "machine": machine(),
    }


def _without_folders(argument: str) -> str:
    """Where the files lay on this machine is nobody's concern."""
    name, equals, files = argument.rpartition("=")
    return name + equals + ",".join(Path(one).name for one in files.split(","))


if __name__ == "__main__":
    sys.exit(main())
