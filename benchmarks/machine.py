"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.checkout import commit
from unembed.models.decoder.native_library import find_native

LIBRARIES = ("torch", "transformers", "ctranslate2", "ray", "celery", "pyarrow")


def machine() -> list[tuple[str, str]]:
    native, reason = find_native("auto")
    return [
        ("CPU", _cpu()),
        ("cores", str(os.cpu_count())),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"),
        ("instructions", torch.backends.cpu.get_cpu_capability()),
        ("engine", native.isa if native is not None else f"torch ({reason})"),
        ("system", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"),
        ("libraries", ", ".join(_installed())),
        ("commit", commit()),
        ("date", datetime.now(UTC).date().isoformat()),
    ]


def _installed() -> Iterator[str]:
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
