"""Finds a C++ compiler, and compiles the engine once for each kind of CPU."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

# What the CPU needs to have stands in unembed/models/decoder/native_library.py.
X86 = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"],
    "avx512bf16": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16"],
}
# No fast-math: the sums of a text stay in their order, whatever stands beside it in a batch.
FLAGS = [
    *("-O3", "-std=c++17", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-fPIC"),
    *("-fno-math-errno", "-ffp-contract=fast"),
]
# Without symbols, and without the C++ runtime, of which the engine uses nothing: it then needs only libc and libm.
_STRIPPED = ["-s", "-Wl,--as-needed"] if sys.platform == "linux" else []


def variants(machine: str = platform.machine()) -> dict[str, list[str]]:
    """Flags by the name of the instruction set."""
    return X86 if machine.lower() in ("x86_64", "amd64") else {"baseline": []}


def compiler() -> list[str] | None:
    """A command that compiles C++: $CXX, else the system's, else that of the package ziglang. None: there is none."""
    named = os.environ.get("CXX")
    commands = [shlex.split(named)] if named else [["c++"], ["g++"], ["clang++"]]
    for command in commands:
        if _works(command):
            return command
    bundled = [sys.executable, "-m", "ziglang", "c++"]
    return bundled if not named and find_spec("ziglang") and _works(bundled) else None


def compile_engine(command: list[str], source: Path, to: Path, name: str, flags: list[str]) -> str | None:
    """Compiles one library, `to`; what the compiler says where it cannot, else None."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = str(Path(folder) / f"{name}.o")
        steps = (
            [*command, *FLAGS, *flags, f'-DUNEMBED_ISA="{name}"', "-c", "-o", compiled, str(source)],
            [*_linker(command), "-shared", "-pthread", *_STRIPPED, "-o", str(to), compiled],
        )
        for step in steps:
            try:
                done = subprocess.run(step, capture_output=True, text=True, check=False)
            except OSError as error:
                return str(error)
            if done.returncode:
                return done.stderr.strip() or f"{step[0]} ended with {done.returncode}"
    return None


def _linker(command: list[str]) -> list[str]:
    """The engine uses nothing of the C++ runtime; zig would compile that first, which takes minutes."""
    return ["cc" if word == "c++" else word for word in command] if "ziglang" in command else command


def _works(command: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "try.cpp"
        source.write_text("#include <atomic>\nint tried() { return 0; }\n", encoding="utf-8")
        return compile_engine(command, source, Path(folder) / "try.so", "try", []) is None
