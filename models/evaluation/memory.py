"""How much memory a network and its work take: measured in a process of its own, which has done nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.resident import reset_peak, resident_bytes
from unembed.models.device import Device, choose
from unembed.models.evaluation.workload import workload
from unembed.schemas import Precision


@dataclass(frozen=True)
class MemoryUse:
    """Bytes that a network and its work took at most, beyond what the process had before them.

    On a CPU that is resident memory, as the system counts it; on a GPU torch's own count of its tensors.
    """

    weights: int
    one: int  # weights and one generation
    batch: int  # weights and a batch of all rows
    process: int | None  # the whole process with the batch, torch itself included; None on a GPU


def memory_use(
    config: NetworkConfig, lengths: Sequence[int], device: str, precision: Precision, threads: int = 0
) -> MemoryUse:
    """Of a network of this shape and a batch of texts of these lengths; `threads` 0: as many as torch chooses."""
    where = {"device": device, "precision": precision, "threads": threads}
    asked = {"config": config.model_dump(), "lengths": list(lengths)} | where
    command = [sys.executable, "-P", "-m", "unembed.models.evaluation.memory"]
    done = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
    return MemoryUse(**json.loads(done.stdout))


def _measure(config: NetworkConfig, lengths: Sequence[int], device: Device) -> MemoryUse:
    """What was freed before would be used again, so this is called once, in a fresh process."""
    tiny = NetworkConfig(embedding_dim=8, hidden_dim=16, mlp_dim=16)
    workload(tiny, lengths[:4], device).decode(slice(None))  # libraries take memory of their own at first use
    gpu = device.torch_device if device.torch_device.type == "cuda" else None
    before = torch.cuda.memory_allocated(gpu) if gpu else resident_bytes()[0]

    def peak_of(rows: slice) -> int:
        one.decode(rows)
        return torch.cuda.max_memory_allocated(gpu) if gpu else resident_bytes()[1]

    torch.cuda.reset_peak_memory_stats(gpu) if gpu else reset_peak()
    one = workload(config, lengths, device)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in one.network.parameters())
    alone, together = peak_of(one.typical), peak_of(slice(None))
    return MemoryUse(weights, alone - before, together - before, None if gpu else together)


def _main() -> None:
    asked = json.load(sys.stdin)
    if asked["threads"]:
        torch.set_num_threads(asked["threads"])
    config = NetworkConfig.model_validate(asked["config"])
    print(json.dumps(asdict(_measure(config, asked["lengths"], choose(asked["device"], asked["precision"])))))


if __name__ == "__main__":
    _main()
