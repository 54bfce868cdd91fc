"""Puts a library for each kind of CPU into the package `unembed_engine`."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent / "build_backend"))
from compiler import compile_engine, compiler, variants

SOURCE = Path(__file__).parent / "src" / "engine.cpp"


class BuildLibraries(build_py):
    def run(self) -> None:
        super().run()
        if (command := compiler()) is None:
            raise SystemExit(
                "no C++ compiler was found: expected c++, g++ or clang++, a working $CXX, or the package ziglang"
            )
        folder = Path(self.build_lib) / "unembed_engine"
        folder.mkdir(parents=True, exist_ok=True)
        # At once, but for zig, which makes its own runtime at the first link, each time that it has not yet.
        with ThreadPoolExecutor(1 if "ziglang" in command else os.cpu_count()) as pool:
            tried = {
                name: pool.submit(compile_engine, command, SOURCE, folder / f"engine_{name}.so", name, flags)
                for name, flags in variants().items()
            }
        refused = {name: why for name, one in tried.items() if (why := one.result())}
        for name, why in refused.items():
            print(f"unembed-engine: {' '.join(command)} cannot compile {name}: {why}", file=sys.stderr)
        if "baseline" in refused:
            raise SystemExit(f"{' '.join(command)} cannot compile the engine: {refused['baseline']}")


class ForThisPlatform(Distribution):
    def has_ext_modules(self) -> bool:
        return True


class ForAnyPython(bdist_wheel):
    """The libraries are called through ctypes: one wheel serves every Python on its platform."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


setup(
    packages=["unembed_engine"],
    distclass=ForThisPlatform,
    cmdclass={"build_py": BuildLibraries, "bdist_wheel": ForAnyPython},
)
