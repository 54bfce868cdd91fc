"""Which device, and in which precision."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch

from unembed.errors import InputError


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
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

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


def choose(device: str = "auto") -> Device:
    """The device asked for, or the best there is. Raises InputError for one that is not there, naming those that are.

    The precision is decided by what the hardware has, not by timing it: two workers on like machines must not decode
    the same row in different precisions because one of them was busy.
    """
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
    return Device(wanted, _dtype(wanted))


def _available() -> list[str]:
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def _dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and "AMX" in torch.backends.cpu.get_cpu_capability().upper():
        return torch.bfloat16
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32  # a CPU without bf16 instructions emulates them, slower than float32
