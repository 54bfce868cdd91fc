"""setuptools' own backend, which asks for a compiler in a package where the machine has none."""

from __future__ import annotations

from typing import Any

from compiler import compiler
from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  # the hooks of PEP 517

ZIG = "ziglang>=0.13"  # clang, in a wheel of 100 MB


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    needed = build_meta.get_requires_for_build_wheel(config_settings)
    return needed if compiler() else [*needed, ZIG]
