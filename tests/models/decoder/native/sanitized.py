"""Runs the engine's tests on a library that was compiled with the sanitizers of addresses and undefined behaviour.

python -m tests.models.decoder.native.sanitized [arguments of pytest]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[4]
SOURCE = ROOT / "models" / "decoder" / "native" / "src" / "engine.cpp"
TESTS = [
    f"tests/models/decoder/native/{name}.py" for name in ("test_native_engine", "test_scoring", "test_native_edits")
]
FLAGS = ["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-fPIC", "-shared", "-pthread"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
# Wider vectors than a CPU without AVX512 has: the compiler makes two of each, so the code for AVX512 is tested too.
WIDTHS = {"narrow": [], "wide": ["-DUNEMBED_WIDE"]}


def runtimes() -> list[str]:
    """What has to be loaded before Python itself; empty where this machine's compiler has no sanitizers."""
    found = []
    for name in ("libasan.so", "libubsan.so"):
        try:
            done = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=False)
        except OSError:
            return []
        if not Path(done.stdout.strip()).is_file():
            return []
        found.append(done.stdout.strip())
    return found


def compile_sanitized(to: Path, width: str) -> None:
    subprocess.run(["g++", *FLAGS, *SANITIZE, *WIDTHS[width], "-o", str(to), str(SOURCE)], check=True)


def run(library: Path, arguments: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """The engine's tests on this library; leaks are not looked for, as Python itself has some at its end."""
    variables = {
        "LD_PRELOAD": " ".join(runtimes()),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UNEMBED_ENGINE_LIBRARY": str(library),
    }
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, *arguments]
    return subprocess.run(line, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)


def main() -> int:
    if not runtimes():
        print("g++ with libasan and libubsan was not found; expected them, to compile the engine with sanitizers")
        return 1
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        for width in WIDTHS:
            library = Path(folder) / f"engine_{width}.so"
            compile_sanitized(library, width)
            done = run(library, sys.argv[1:])
            print(f"{width}: {done.stdout[-400:]}{done.stderr[-4000:]}")
            worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
