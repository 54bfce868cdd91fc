"""A process that decodes with our engine, or, in the checkout of an earlier commit, with the one of then.

    python benchmarks/ours.py VECTORS.npy

What the earlier commit lacks is imported only when it is asked for.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import spent, stay_on_one_core
from benchmarks.subject import serve
from unembed.models.decoder.engine import Generated, generate, piece_log_probs
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.resident import resident_bytes
from unembed.models.decoder.sampling import Sampler
from unembed.schemas import DecodeOptions, Precision

DECODER = "ret-v21-minilm"
GREEDILY = DecodeOptions(candidates=1)
DEVICE = "unembed.models.device"
DEVICE_BEFORE = "unembed.models.decoder.device"  # where the earlier commit has it
VECTORS = np.load(sys.argv[1], allow_pickle=False)  # (N, D) float32


def main() -> None:
    stay_on_one_core()
    torch.set_num_threads(1)
    works = (generate_texts, score_texts, decode_rows, nearest_of, lengths, age, multiply, facts)
    serve({work.__name__: work for work in works})


@cache
def decoder(precision: Precision) -> GenerativeDecoder:
    return GenerativeDecoder.load(DECODER, "cpu", precision)


def device(precision: Precision) -> Any:
    """The CPU, in this precision."""
    return import_module(DEVICE if find_spec(DEVICE) else DEVICE_BEFORE).choose("cpu", precision)


@cache
def vectors(rows: int, at_least: int) -> torch.Tensor:
    """(rows, D): the vectors, again and again, or only those whose texts take `at_least` pieces."""
    chosen = VECTORS
    if at_least:
        found = generated_by("plain", "float32")(torch.from_numpy(VECTORS), at_least)
        chosen = VECTORS[found.lengths.numpy() == at_least]
    return torch.from_numpy(np.resize(chosen, (rows, VECTORS.shape[1])))


@cache
def generated_by(engine: str, precision: Precision) -> Callable[[torch.Tensor, int], Generated]:
    """Greedily, (N, D) to pieces: by the plain loop in torch, or by the native engine (of which there was none)."""
    here = device(precision)
    network = decoder(precision).checkpoint.network
    sampler = Sampler(GREEDILY, 0)

    def keys(count: int) -> torch.Tensor:
        return torch.zeros(count, dtype=torch.int64)

    if engine == "plain":

        def plain(embeddings: torch.Tensor, limit: int) -> Generated:
            with here.autocast():
                return generate(network, embeddings, sampler, keys(len(embeddings)), limit)

        return plain
    native = native_engine(precision)
    return lambda embeddings, limit: native.generate(embeddings, sampler, keys(len(embeddings)), limit)


@cache
def native_engine(precision: Precision) -> Any:
    from unembed.models.decoder.engines import engine_for

    return engine_for(decoder(precision).checkpoint.network, device(precision))


def generate_texts(
    engine: str, precision: Precision, rows: int, micro_batch: int, limit: int = 0, at_least: int = 0
) -> dict[str, Any]:
    given, work = vectors(rows, at_least), generated_by(engine, precision)
    limit = limit or decoder(precision).checkpoint.network.config.max_pieces
    found: list[Generated] = []

    def run() -> None:
        found.extend(work(given[begin : begin + micro_batch], limit) for begin in range(0, rows, micro_batch))

    return asdict(spent(run)) | {"pieces": sum(int(one.lengths.sum()) for one in found), "ids": _digest(found)}


def score_texts(engine: str, precision: Precision, rows: int, micro_batch: int) -> dict[str, Any]:
    """Of texts that are given, the plain loop's."""
    given = vectors(rows, 0)
    parts = _texts(rows, micro_batch)

    def scored(part: Generated, embeddings: torch.Tensor) -> torch.Tensor:
        if engine != "plain":
            found: torch.Tensor = native_engine(precision).piece_log_probs(embeddings, part)
            return found
        with device(precision).autocast():
            return piece_log_probs(decoder(precision).checkpoint.network, embeddings, part)

    sums: list[float] = []

    def run() -> None:
        for place, part in enumerate(parts):
            begin = place * micro_batch
            sums.append(float(scored(part, given[begin : begin + len(part.ids)]).sum()))

    return asdict(spent(run)) | {"nats": sum(sums)}


@cache
def _texts(rows: int, micro_batch: int) -> list[Generated]:
    work, given = generated_by("plain", "float32"), vectors(rows, 0)
    limit = decoder("float32").checkpoint.network.config.max_pieces
    return [work(given[begin : begin + micro_batch], limit) for begin in range(0, rows, micro_batch)]


def decode_rows(precision: Precision, rows: int, micro_batch: int, options: dict[str, Any]) -> dict[str, Any]:
    """`decode_rows`, which is what a worker calls, with these options."""
    given, chosen = vectors(rows, 0).numpy(), DecodeOptions.model_validate(options)
    subject, texts = decoder(precision), hashlib.sha256()

    def run() -> None:
        for begin in range(0, rows, micro_batch):
            part = given[begin : begin + micro_batch]
            done = subject.decode_rows(part, range(begin, begin + len(part)), chosen, 0)
            texts.update("\n".join(text or "" for text in done.rows["text"].to_pylist()).encode())

    return asdict(spent(run)) | {"texts": texts.hexdigest()}


def nearest_of(count: int, precision: Precision, rows: int, micro_batch: int) -> dict[str, Any]:
    """`decode_rows`, where the encoder takes the nearest of so many candidates, from 32 beams or as many."""
    earlier = "embed" not in DecodeOptions.model_fields  # in which that was what candidates meant
    today = {"beams": max(count, min(32, 4 * count)), "embed": count, "edits": 0}
    return decode_rows(precision, rows, micro_batch, {"candidates": count} | ({} if earlier else today))


def lengths(rows: int) -> dict[str, Any]:
    """How many pieces each text takes, its end counted."""
    return {"lengths": [int(length) for part in _texts(rows, 256) for length in part.lengths]}


def facts() -> dict[str, Any]:
    """Which precision this CPU decodes in by itself, and which options there are."""
    return {"precision": device("auto").precision, "options": list(DecodeOptions.model_fields)}


def multiply(precision: Precision) -> dict[str, Any]:
    """The most GFLOP a CPU second at which torch multiplies matrices of the shapes that the folded network has."""
    config, dtype = decoder("float32").checkpoint.network.config, device(precision).dtype
    hidden, units, pieces = config.hidden_dim, config.mlp_dim, config.vocab_size
    best = 0.0
    for rows in (48, 256, 1024):
        for inner, outer in ((hidden, units), (units, hidden), (hidden, pieces)):
            given, weights = torch.randn(rows, inner, dtype=dtype), torch.randn(inner, outer, dtype=dtype)
            times = max(1, 2**29 // (rows * inner * outer))
            product = partial(_repeat, times, given, weights, torch.empty(rows, outer, dtype=dtype))
            product()
            best = max(best, 2e-9 * times * rows * inner * outer / min(spent(product).cpu for _ in range(3)))
    return {"gflops": best}


def _repeat(times: int, given: torch.Tensor, weights: torch.Tensor, into: torch.Tensor) -> None:
    for _ in range(times):
        torch.mm(given, weights, out=into)


def age(precision: Precision, batches: int, micro_batch: int) -> dict[str, Any]:
    """Memory after so many further batches of other rows and another number of them each time."""
    subject, generator = decoder(precision), np.random.default_rng(batches)
    for _ in range(batches):
        count = int(generator.integers(micro_batch // 2, micro_batch + 1))
        part = VECTORS[generator.integers(len(VECTORS), size=count)]
        subject.decode_rows(part, range(count), GREEDILY, 0)
    return {"bytes": resident_bytes()[0]}


def _digest(found: list[Generated]) -> str:
    whole = hashlib.sha256()
    for part in found:
        whole.update(np.ascontiguousarray(part.ids.numpy()).tobytes())
    return whole.hexdigest()


if __name__ == "__main__":
    main()
