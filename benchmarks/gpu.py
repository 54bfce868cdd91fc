"""`make bench-gpu`: checks and times the engine on a GPU, in at most nine minutes.

python -m benchmarks.gpu [--device cuda] [--seconds 540] [--short] [--out out]

Measured are the ceilings of the device at the network's own shapes, rows a second at batches of 1 to 65,536 as a share
of them, the latency of one embedding, the most memory, v2.1 beside v2.0, and whether the texts are those of the plain
loop. It prints all numbers as JSON and a section for docs/benchmarks.md, and writes both into --out. Where there is no
such device it says so in one line and ends with the code 69.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from benchmarks.checkout import ROOT, commit
from benchmarks.gpu_page import page
from benchmarks.gpu_roofline import Ceilings, ceilings, work_of
from unembed.errors import InputError
from unembed.models.decoder.checkpoint import load_checkpoint
from unembed.models.decoder.config import RET_V2, RET_V21, NetworkConfig
from unembed.models.decoder.engine import Generated
from unembed.models.decoder.graph_engine import GPU_MEMORY, GraphEngine
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.torch_engine import TorchEngine
from unembed.models.device import Device, choose
from unembed.models.evaluation.workload import OfLength, piece_lengths
from unembed.schemas import DEFAULT_DECODER, GREEDY

NO_DEVICE: Final = 69  # EX_UNAVAILABLE of sysexits.h
WARM: Final = 3  # runs before any is timed: eager, captured, replayed
PLAIN_FROM_TIME: Final = 0.5  # of the time: past it, the plain loop is measured no more
Engines = GraphEngine | TorchEngine


@dataclass(frozen=True)
class GpuPlan:
    """How much is measured."""

    batches: tuple[int, ...]
    repeats: int
    checked: int  # rows that are compared with the plain loop
    pair: int  # rows of v2.1 and v2.0
    memory: int  # bytes: the large budget beside the default one


FULL: Final = GpuPlan((1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536), 5, 8192, 4096, 8 * 1024**3)
SHORT: Final = GpuPlan((1, 4), 1, 8, 4, 16 * 1024**2)


class Clock:
    """How much of the time is left, on a device whose work has to be waited for."""

    def __init__(self, device: Device, seconds: float) -> None:
        self._device, self._seconds, self._begun = device, seconds, time.monotonic()

    @property
    def spent(self) -> float:
        """As a share of the time that there is."""
        return (time.monotonic() - self._begun) / self._seconds

    def seconds_of(self, work: Callable[[], object], repeats: int) -> list[float]:
        """Of each of `repeats` runs, after some that warm up; of fewer when the time runs out."""
        for _ in range(WARM if self.spent < 1.0 else 1):
            work()
        found: list[float] = []
        for _ in range(repeats):
            self._device.synchronize()
            begun = time.perf_counter()
            work()
            self._device.synchronize()
            found.append(time.perf_counter() - begun)
            if self.spent > 1.0:
                break
        return found


def measure(device: Device, plan: GpuPlan, seconds: float) -> dict[str, Any]:
    """All of it, as JSON takes it. What there was no time for is null."""
    clock = Clock(device, seconds)
    network = load_checkpoint(DEFAULT_DECODER).network.to(device.torch_device).eval()
    vectors = _vectors(max(*plan.batches, plan.checked), device)
    exact = Device(device.torch_device, torch.float32)
    top = ceilings(network.config, device, clock.seconds_of, plan.batches[-1])
    return {
        "machine": _machine(device),
        "decoder": DEFAULT_DECODER,
        "warm_runs": WARM,
        "repeats": plan.repeats,
        "ceilings": top.as_json(),
        "equality": [_equality(network, one, vectors[: plan.checked]) for one in dict.fromkeys((exact, device))],
        "latency": _latency(network, device, vectors[:1], clock, plan),
        "batches": [_batch(network, device, vectors[:count], clock, plan, top) for count in plan.batches],
        "pair": [_pair(name, device, clock, plan) for name in (RET_V21, RET_V2)],
        "seconds": clock.spent * seconds,
    }


def _vectors(count: int, device: Device) -> Tensor:
    """The embeddings of the example sentences (count, E), over and over."""
    table = pq.read_table(ROOT / "examples" / "sentences.parquet", columns=["embedding"])
    known = torch.from_numpy(np.array(table["embedding"].to_pylist(), dtype=np.float32))  # (N, E)
    return known.repeat(-(-count // len(known)), 1)[:count].to(device.torch_device)


def _run(engine: Engines, vectors: Tensor, limit: int) -> Generated:
    keys = torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)  # greedy: nothing is drawn
    return engine.generate(vectors, Sampler(GREEDY, 0), keys, limit)


def _equality(network: RET, device: Device, vectors: Tensor) -> dict[str, Any]:
    """How many rows are not those of the plain loop on the same device, and how far the log-probabilities lie apart."""
    plain, engine = TorchEngine(network, device, ""), GraphEngine(network, device)
    limit = plain.max_pieces
    theirs = _run(plain, vectors, limit)
    for _ in range(WARM):
        ours = _run(engine, vectors, limit)
    given = plain.piece_log_probs(vectors, ours)  # what the plain network says of our pieces
    apart = (given - ours.log_probs).abs()
    same = ours.lengths == theirs.lengths
    longest = min(ours.ids.shape[1], theirs.ids.shape[1])
    same &= (ours.ids[:, :longest] == theirs.ids[:, :longest]).all(dim=1)
    return {
        "precision": device.precision,
        "rows": len(vectors),
        "rows_that_differ": int((~same).sum()),
        "nats_a_piece_apart": float(apart.sum() / ours.lengths.sum()),
        "most_nats_apart": float(apart.max()),
        "engine": engine.reason,
    }


def _latency(network: RET, device: Device, vector: Tensor, clock: Clock, plan: GpuPlan) -> dict[str, Any]:
    """One embedding, from the device's memory to its pieces there."""
    found = {}
    engines: tuple[Engines, ...] = (GraphEngine(network, device), TorchEngine(network, device, ""))
    for engine in engines:
        times = clock.seconds_of(partial(_run, engine, vector, engine.max_pieces), 10 * plan.repeats)
        found[engine.name] = {"median_ms": median(times) * 1000, "longest_ms": max(times) * 1000}
    return found


def _batch(
    network: RET, device: Device, vectors: Tensor, clock: Clock, plan: GpuPlan, top: Ceilings
) -> dict[str, Any] | None:
    """Rows a second of one batch, in the default budget, in a large one, and by the plain loop."""
    if clock.spent > 1.0:
        return None
    engines: dict[str, Callable[[], Engines]] = {
        "graph": partial(GraphEngine, network, device, GPU_MEMORY),
        "graph, large budget": partial(GraphEngine, network, device, plan.memory),
        "torch": partial(TorchEngine, network, device, ""),
    }
    pieces = float(_run(engines["graph"](), vectors, network.config.max_pieces).lengths.float().mean())
    most = top.rows_a_second(work_of(network.config, device.dtype, pieces))
    found: dict[str, Any] = {"rows": len(vectors), "pieces": pieces, "roofline_rows_a_second": most}
    for name, make in engines.items():
        if name == "torch" and clock.spent > PLAIN_FROM_TIME:
            continue
        before = _forget(device)
        engine = make()
        times = clock.seconds_of(partial(_run, engine, vectors, engine.max_pieces), plan.repeats)
        rates = sorted(len(vectors) / one for one in times)
        found[name] = {
            "rows_a_second": median(rates),
            "least": rates[0],
            "most": rates[-1],
            "share_of_roofline": median(rates) / most,
            "peak_bytes": _peak(device, before),
        }
        del engine
    return found


def _forget(device: Device) -> int:
    """Gives back what is not used any more, and counts the peak from here; what is in use now, in bytes."""
    if device.torch_device.type != "cuda":
        return 0
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device.torch_device)
    return int(torch.cuda.memory_allocated(device.torch_device))


def _peak(device: Device, before: int) -> int | None:
    """The most that was in use beside what was there before; None where that is not counted."""
    peak = device.peak_memory_bytes()
    return None if peak is None else peak - before


def _pair(architecture: str, device: Device, clock: Clock, plan: GpuPlan) -> dict[str, Any] | None:
    """Random weights, but texts as long as the example sentences: the work is real, the words are not."""
    if clock.spent > 1.0:
        return None
    torch.manual_seed(0)
    network = RET(NetworkConfig.of(architecture, embedding_dim=384)).to(device.torch_device).eval()
    lines = (ROOT / "examples" / "sentences.txt").read_text(encoding="utf-8").splitlines()
    lengths = torch.tensor(piece_lengths(network.config, lines), device=device.torch_device)
    lengths = lengths.repeat(-(-plan.pair // len(lengths)))[: plan.pair]  # (N,)
    vectors = _vectors(plan.pair, device)
    found: dict[str, Any] = {"architecture": architecture, "rows": plan.pair, "pieces": float(lengths.float().mean())}
    engines: tuple[Engines, ...] = (GraphEngine(network, device), TorchEngine(network, device, ""))
    for engine in engines:
        before = _forget(device)
        sampler, limit = OfLength(GREEDY, 0), network.config.max_pieces
        times = clock.seconds_of(partial(engine.generate, vectors, sampler, lengths, limit), plan.repeats)
        found[engine.name] = {"rows_a_second": plan.pair / median(times), "peak_bytes": _peak(device, before)}
    return found


def _machine(device: Device) -> dict[str, str]:
    return {
        "device": device.name,
        "precision": device.precision,
        "torch": torch.__version__,
        "CUDA": torch.version.cuda or "none",
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Checks and times the GPU's engine.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to try the script itself")
    parser.add_argument("--precision", default="auto", help="auto, bfloat16, float16 or float32")
    parser.add_argument(
        "--seconds", type=float, default=540.0, help="the time that there is; what does not fit is left out"
    )
    parser.add_argument("--short", action="store_true", help="a few rows: to see that it runs, not to measure")
    parser.add_argument("--out", type=Path, default=Path("out"), help="the folder for gpu.json and gpu.md")
    given = parser.parse_args(arguments)
    try:
        device = choose(given.device, given.precision)
    except InputError as error:
        print(f"nothing was measured: {error}", file=sys.stderr)
        return NO_DEVICE
    found = measure(device, SHORT if given.short else FULL, given.seconds)
    given.out.mkdir(parents=True, exist_ok=True)
    for name, text in (("gpu.json", json.dumps(found, indent=2) + "\n"), ("gpu.md", page(found))):
        (given.out / name).write_text(text, encoding="utf-8")
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
