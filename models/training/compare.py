"""`make compare`: RET v2.1 against v2.0 on this machine: memory, rows a second, latency, requests at once.

The weights are random, as their values cost nothing, but the work is real: the loop of `engine.generate` and the
scoring pass after it, on texts as long as real ones. How many pieces they take is learnt from --texts for each of the
two: v2.0, with four times as many pieces to choose from, needs fewer for the same text. The two take turns, round by
round, so that whatever else the machine does meets both; what counts is the ratio within a round. Memory is measured in
a process of its own for each.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from torch import Tensor

from unembed.models.decoder.config import RET_V2, RET_V21, NetworkConfig
from unembed.models.decoder.device import Device, choose
from unembed.models.decoder.engine import Generated, generate, log_likelihood
from unembed.models.decoder.resident import reset_peak, resident_bytes
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import END, Tokenizer
from unembed.schemas import DecodeOptions

SUBJECTS: Final = (RET_V21, RET_V2)
SINGLES: Final = 5  # generations of one row, in each round


@dataclass(frozen=True)
class OfLength(Sampler):
    """Chooses as ever, at the usual cost, but a row ends where its key says, and not before."""

    def choose(self, logits: Tensor, history: Tensor, keys: Tensor, position: int) -> Tensor:
        logits[:, END] = -torch.inf
        chosen = super().choose(logits, history, keys, position)  # (B,)
        return torch.where(keys == position + 1, END, chosen)


@dataclass(frozen=True)
class Subject:
    """A network and how long its texts are."""

    network: RET
    embeddings: Tensor  # (N, E)
    lengths: Tensor  # (N,) int64, END counted
    device: Device

    def decode(self, rows: slice) -> Generated:
        """What a worker does with a micro-batch, but for the reading of the pieces."""
        with self.device.autocast():
            sampler = OfLength(DecodeOptions(), 0)
            limit = self.network.config.max_pieces  # what the cache is made for
            generated = generate(self.network, self.embeddings[rows], sampler, self.lengths[rows], limit)
            log_likelihood(self.network, torch.zeros_like(self.embeddings[rows]), generated)
        self.device.synchronize()
        return generated

    @property
    def typical(self) -> slice:
        """One row of median length."""
        row = int(self.lengths.argsort()[len(self.lengths) // 2])
        return slice(row, row + 1)

    def twin(self) -> Subject:
        return Subject(copy.deepcopy(self.network), self.embeddings, self.lengths, self.device)


@dataclass(frozen=True)
class Memory:
    """Bytes that a network and its work took at most, beyond what the process had before them.

    On a CPU that is resident memory, as the system counts it; on a GPU torch's own count of its tensors.
    """

    weights: int
    one: int  # weights and one generation
    batch: int  # weights and a batch of all rows
    process: int | None  # the whole process with the batch, torch itself included; None on a GPU


@dataclass(frozen=True)
class Measured:
    """Of one architecture; times are medians over the rounds."""

    architecture: str
    parameters: int
    pieces_per_text: float
    memory: Memory
    rows_per_second: float
    latency_ms: float  # of one generation, alone
    together_ms: float  # until all of `requests` generations, begun at once, are there


def piece_lengths(config: NetworkConfig, texts: Sequence[str]) -> list[int]:
    """How many of the network's pieces each text takes, END counted."""
    tokenizer = Tokenizer.train(texts, config.vocab_size)
    return [min(len(ids) + 1, config.max_pieces) for ids in tokenizer.encode_many(texts)]


def subject(config: NetworkConfig, lengths: Sequence[int], device: Device) -> Subject:
    """A network with random weights, on `device`, and one row for each of the lengths."""
    torch.manual_seed(0)
    place = device.torch_device
    network = RET(config).eval().to(place)
    embeddings = torch.randn(len(lengths), config.embedding_dim).to(place)
    return Subject(network, embeddings, torch.tensor(lengths).to(place), device)


def memory(config: NetworkConfig, lengths: Sequence[int], device: Device) -> Memory:
    """To be called once in a process that has done nothing else: what was freed before would be used again."""
    tiny = NetworkConfig(embedding_dim=8, hidden_dim=16, mlp_dim=16)
    subject(tiny, lengths[:4], device).decode(slice(None))  # libraries take memory of their own at first use
    gpu = device.torch_device if device.torch_device.type == "cuda" else None
    before = torch.cuda.memory_allocated(gpu) if gpu else resident_bytes()[0]

    def peak_of(rows: slice) -> int:
        one.decode(rows)
        return torch.cuda.max_memory_allocated(gpu) if gpu else resident_bytes()[1]

    torch.cuda.reset_peak_memory_stats(gpu) if gpu else reset_peak()
    one = subject(config, lengths, device)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in one.network.parameters())
    alone, together = peak_of(one.typical), peak_of(slice(None))
    return Memory(weights, alone - before, together - before, None if gpu else together)


def times(subjects: Sequence[Subject], rounds: int, requests: int) -> list[list[tuple[float, float, float]]]:
    """For each round and subject the seconds of the whole batch, of one generation, and of `requests` at once."""
    twins = [[one.twin() for _ in range(requests)] for one in subjects]
    expected = [one.decode(one.typical).ids for one in subjects]
    for one in subjects:
        one.decode(slice(None))
    with ThreadPoolExecutor(requests) as pool:

        def at_once(place: int) -> None:
            for ids in pool.map(lambda one: one.decode(one.typical).ids, twins[place]):
                if not torch.equal(ids, expected[place]):
                    raise AssertionError("a request that ran beside others got another text than alone")

        def round_of(place: int) -> tuple[float, float, float]:
            one = subjects[place]
            alone = median(_seconds(lambda: one.decode(one.typical)) for _ in range(SINGLES))
            return _seconds(lambda: one.decode(slice(None))), alone, _seconds(lambda: at_once(place))

        return [[round_of(place) for place in range(len(subjects))] for _ in range(rounds)]


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratios(new: Measured, old: Measured, rounds: list[list[tuple[float, float, float]]]) -> dict[str, float]:
    """Of `new` to `old`: shares of memory that are saved, and how many times as fast, the median of the rounds."""
    faster = [
        median(other / ours for ours, other in (tuple(one[kind] for one in both) for both in rounds))
        for kind in range(3)
    ]
    return {
        "weights_saved": 1.0 - new.memory.weights / old.memory.weights,
        "one_saved": 1.0 - new.memory.one / old.memory.one,
        "batch_saved": 1.0 - new.memory.batch / old.memory.batch,
        "batch_times_as_fast": faster[0],
        "one_times_as_fast": faster[1],
        "together_times_as_fast": faster[2],
    }


def compare(options: argparse.Namespace, texts: Sequence[str], device: Device) -> dict[str, Any]:
    """The whole record, as it is written down."""
    configs = [NetworkConfig.of(name, embedding_dim=options.embedding_dim) for name in SUBJECTS]
    lengths = [piece_lengths(config, texts)[: options.rows] for config in configs]
    memories = [_memory_elsewhere(*one, options) for one in zip(configs, lengths, strict=True)]
    subjects = [subject(*one, device) for one in zip(configs, lengths, strict=True)]
    rounds = times(subjects, options.rounds, options.requests)
    measured = [
        Measured(
            architecture=name,
            parameters=one.network.config.parameters,
            pieces_per_text=float(one.lengths.float().mean()),
            memory=used,
            rows_per_second=options.rows / median(both[place][0] for both in rounds),
            latency_ms=1000.0 * median(both[place][1] for both in rounds),
            together_ms=1000.0 * median(both[place][2] for both in rounds),
        )
        for place, (name, one, used) in enumerate(zip(SUBJECTS, subjects, memories, strict=True))
    ]
    return {
        "command": shlex.join(["python", "-m", "unembed.models.training.compare", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "device": device.name,
            "dtype": device.dtype_name,
            "architecture": platform.machine(),
            "cpu_cores": os.cpu_count(),
            "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
        "embedding_dim": options.embedding_dim,
        "rows": options.rows,
        "rounds": options.rounds,
        "requests": options.requests,
        "measured": {one.architecture: asdict(one) for one in measured},
        "ratios": ratios(measured[0], measured[1], rounds),
    }


def _memory_elsewhere(config: NetworkConfig, lengths: Sequence[int], options: argparse.Namespace) -> Memory:
    command = [sys.executable, "-m", "unembed.models.training.compare", "--memory-of", config.model_dump_json()]
    command += ["--device", options.device, "--threads", str(options.threads)]
    done = subprocess.run(command, input=json.dumps(lengths), stdout=subprocess.PIPE, text=True, check=True)
    return Memory(**json.loads(done.stdout))


def show(record: dict[str, Any]) -> None:
    """The record as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    new, old = (record["measured"][name] for name in SUBJECTS)
    saved = record["ratios"]
    table = Table("", "v2.1", "v2.0", "v2.1 is", title=f"{record['machine']['device']}, {record['rows']} rows")

    def row(label: str, value: Callable[[dict[str, Any]], str], ratio: str = "") -> None:
        table.add_row(label, value(new), value(old), ratio)

    row("parameters", lambda one: f"{one['parameters']:,}")
    row("pieces a text", lambda one: f"{one['pieces_per_text']:.1f}")
    row("weights", lambda one: _mb(one["memory"]["weights"]), f"{saved['weights_saved']:.0%} less")
    row("peak of one generation", lambda one: _mb(one["memory"]["one"]), f"{saved['one_saved']:.0%} less")
    row("peak of the batch", lambda one: _mb(one["memory"]["batch"]), f"{saved['batch_saved']:.0%} less")
    if new["memory"]["process"] is not None:
        row("whole process", lambda one: _mb(one["memory"]["process"]))
    row("rows a second", lambda one: f"{one['rows_per_second']:,.0f}", _times(saved["batch_times_as_fast"]))
    row("one generation", lambda one: f"{one['latency_ms']:.1f} ms", _times(saved["one_times_as_fast"]))
    together = _times(saved["together_times_as_fast"])
    row(f"{record['requests']} at once, all there", lambda one: f"{one['together_ms']:.1f} ms", together)
    Console().print(table)


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _times(ratio: float) -> str:
    return f"{ratio:.2f} × as fast"


def main() -> None:
    parser = argparse.ArgumentParser(description="RET v2.1 against v2.0 on this machine.")
    parser.add_argument("--texts", type=Path, default=Path("examples/sentences.txt"), help="one text a line")
    parser.add_argument("--rows", type=int, default=256, help="in the batch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=3, help="generations at once")
    parser.add_argument("--embedding-dim", type=int, default=768)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: as torch likes")
    parser.add_argument("--out", type=Path, help="docs/benchmarks/decoders-cpu.json, or -cuda.json")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # a network; lengths on stdin
    options = parser.parse_args()
    device = choose(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.memory_of:
        config = NetworkConfig.model_validate_json(options.memory_of)
        print(json.dumps(asdict(memory(config, json.load(sys.stdin), device))))
        return
    lines = options.texts.read_text(encoding="utf-8").splitlines()
    if not 0 < options.rows <= len(lines):
        parser.error(f"--rows is {options.rows}; expected 1 to {len(lines)}, the lines of {options.texts}")
    record = compare(options, lines, device)
    out = options.out or Path(f"docs/benchmarks/decoders-{device.torch_device.type}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    show(record)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
