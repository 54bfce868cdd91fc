"""How many workers, and what each of them sees: without importing torch where that can be helped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Seat:
    """The place of one worker."""

    name: str
    environment: Mapping[str, str]


def seats(workers: int | None, device: str) -> list[Seat]:
    """One a GPU, or one on the CPU; `workers` of them when it is given, the GPUs in turn."""
    gpus = _gpus() if device in ("auto", "cuda") else []
    count = workers or len(gpus) or 1
    threads = {"UNEMBED_THREADS": os.environ.get("UNEMBED_THREADS") or str(max(1, _cores() // count))}
    # Libraries that size their pools when they are loaded, before anybody can tell them otherwise.
    threads["OMP_NUM_THREADS"] = threads["UNEMBED_THREADS"]
    if not gpus:
        return [Seat(f"cpu{number}", threads) for number in range(count)]
    return [Seat(_gpu_name(number, len(gpus)), threads | _pinned(gpus[number % len(gpus)])) for number in range(count)]


def _gpu_name(number: int, gpus: int) -> str:
    """Named by place, so that the name is the same at every start."""
    place, turn = number % gpus, number // gpus
    return f"gpu{place}-{turn}" if turn else f"gpu{place}"


def _pinned(gpu: str) -> dict[str, str]:
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": gpu}


def _gpus() -> list[str]:
    """The values for CUDA_VISIBLE_DEVICES, one a GPU that torch can use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = [gpu.strip() for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
        return named if named and _torch_counts() else []
    if shutil.which("nvidia-smi") is None:
        return []
    return [str(index) for index in range(_torch_counts())]


def _torch_counts() -> int:
    """In another process: importing torch takes seconds and memory that this one has no use for."""
    program = "import torch; print(torch.cuda.device_count())"
    order = os.environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    found = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, env=order, check=False
    )
    return int(found.stdout) if found.returncode == 0 and found.stdout.strip().isdigit() else 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
