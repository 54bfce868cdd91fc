"""Which device, and in which precision.

auto       bfloat16 where the hardware has instructions for it (AVX512-bf16, AMX, newer GPUs), float16 on older GPUs,
           float32 elsewhere
float32    the same texts on every machine, but for the order of sums
bfloat16   also where it is emulated, which is slower than float32
float16    likewise
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Final, cast, get_args

import torch

from unembed.errors import InputError
from unembed.schemas import Precision

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)


@dataclass(frozen=True)
class Device:
    """A device and the precision its matrix products run in."""

    torch_device: torch.device
    dtype: torch.dtype

    @property
    def name(self) -> str:
        if self.torch_device.type == "cuda":
            return f"{self.torch_device} ({torch.cuda.get_device_name(self.torch_device)})"
        return str(self.torch_device)

    @property
    def precision(self) -> Precision:
        return cast(Precision, str(self.dtype).removeprefix("torch."))

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Mixed precision: norms, residuals and logits stay in float32."""
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device.type, dtype=self.dtype)

    def synchronize(self) -> None:
        if self.torch_device.type == "cuda":
            torch.cuda.synchronize(self.torch_device)

    def peak_memory_bytes(self) -> int | None:
        """The most that tensors took on a GPU since the process began; None on a CPU, where torch does not count."""
        if self.torch_device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.torch_device))
        return None


def choose(device: str = "auto", precision: Precision = "auto") -> Device:
    """The device and the precision asked for, or the best there are.

    Raises InputError for a device that is not there, naming those that are, and for an unknown precision.
    "auto" is decided by what the hardware has, not by timing it: two workers on like machines must not decode
    the same row in different precisions because one of them was busy.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    available = _available()
    if device == "auto":
        device = available[0]
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise InputError(f"unknown device {device!r}; there are: auto, {', '.join(available)}") from None
    if wanted.type not in {name.partition(":")[0] for name in available}:
        raise InputError(f"device {device!r} is not available here; there are: auto, {', '.join(available)}")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!r} is not available here; there are: auto, {', '.join(available)}")
    return Device(wanted, getattr(torch, fastest(wanted) if precision == "auto" else precision))


def _available() -> list[str]:
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def fastest(device: torch.device) -> Precision:
    """What "auto" means on this device."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device.type == "cpu" and "AMX" in torch.backends.cpu.get_cpu_capability().upper():
        return "bfloat16"
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return "bfloat16"
    return "float32"  # a CPU without bf16 instructions emulates them, slower than float32
