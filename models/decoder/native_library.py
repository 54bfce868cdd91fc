"""Finds and loads the engine's library for this CPU, from the package `unembed_engine`, which may be missing.

A library is a file of the package for each kind of CPU; the first of these that is there and that the CPU can run:

avx512bf16   two bf16 products an instruction
avx512       sixteen numbers an instruction
avx2         eight
baseline     four: any x86-64, any ARM
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from unembed.errors import InputError
from unembed.schemas import EngineChoice

ABI: Final = 6  # of engine.cpp
INSTALL: Final = "pip install 'unembed[engine]'"
LIBRARY: Final = "UNEMBED_ENGINE_LIBRARY"  # a library's path, for tests: whatever the CPU can run

_AVX512: Final = frozenset({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"})
# What the CPU needs to have, by its names in /proc/cpuinfo; the fastest first.
NEEDS: Final[Mapping[str, frozenset[str]]] = {
    "avx512bf16": _AVX512 | {"avx512_bf16"},
    "avx512": _AVX512,
    "avx2": frozenset({"avx2", "fma"}),
    "baseline": frozenset(),
}


@dataclass(frozen=True)
class NativeLibrary:
    isa: str
    path: Path
    library: ctypes.CDLL


@cache
def find_native(choice: EngineChoice = "auto") -> tuple[NativeLibrary | None, str]:
    """The library for this CPU, and why it is this one, or why there is none.

    Raises InputError when "native" was asked for and there is none.
    """
    found, reason = _found()
    if found is None and choice == "native":
        raise InputError(f"the engine is 'native', but {reason}; expected 'auto' or 'torch'")
    return found, reason


def _found() -> tuple[NativeLibrary | None, str]:
    if named := os.environ.get(LIBRARY):
        return _loaded("named", Path(named), f"{LIBRARY} names it")
    files = installed()
    if not files:
        return None, "unembed-engine is not installed"
    isa, reason = best(cpu_flags(), files)
    if isa is None:
        return None, reason
    return _loaded(isa, files[isa], reason)


def best(flags: frozenset[str], files: Mapping[str, Path]) -> tuple[str | None, str]:
    """The fastest of these libraries that a CPU with these flags can run, and why none that is faster."""
    passed_over = []
    for isa, needed in NEEDS.items():
        if missing := sorted(needed - flags):
            passed_over.append(f"the CPU has no {missing[0]}, which {isa} needs")
        elif isa not in files:
            passed_over.append(f"{isa} was not compiled")
        else:
            return isa, passed_over[-1] if passed_over else "it is the fastest there is"
    return None, f"unembed-engine has no library for this CPU: {passed_over[-1]}"


def cpu_flags() -> frozenset[str]:
    """What this CPU can do. Empty where the system does not say: the baseline then serves."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def installed() -> dict[str, Path]:
    """The libraries of the package, by the instructions they use; none where it is not installed."""
    spec = find_spec("unembed_engine")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    return {
        path.stem.removeprefix("engine_"): path for folder in folders for path in sorted(folder.glob("engine_*.so"))
    }


def _loaded(isa: str, path: Path, reason: str) -> tuple[NativeLibrary | None, str]:
    try:
        library = ctypes.CDLL(str(path))
        found = int(library.unembed_engine_abi())
    except (OSError, AttributeError) as error:
        return None, f"{path.name} cannot be loaded: {error}"
    if found != ABI:
        return None, f"{path.name} has the interface {found}; expected {ABI}: {INSTALL} --upgrade"
    return NativeLibrary(isa, path, library), reason
