"""The native engine's libraries, each of them that this CPU can run.

`UNEMBED_ENGINE_LIBRARY` names another, so that these tests also run on one that was compiled with sanitizers.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unembed.models.decoder.native_engine import NativeEngine
from unembed.models.decoder.native_library import LIBRARY, NEEDS, cpu_flags, installed
from unembed.models.decoder.ret import RET

Native = Callable[..., NativeEngine]


def runnable() -> dict[str, Path]:
    """Libraries by the instructions they use."""
    if named := os.environ.get(LIBRARY):
        return {"named": Path(named)}
    return {isa: path for isa, path in installed().items() if NEEDS[isa] <= cpu_flags()}


LIBRARIES = runnable()  # now: while a test runs, no variable of ours is set


@pytest.fixture(params=sorted(LIBRARIES) or ["none"], scope="session")
def library(request: pytest.FixtureRequest) -> ctypes.CDLL:
    """Each library in turn."""
    if request.param == "none":
        pytest.skip("unembed-engine is not installed, or has no library for this CPU")
    return ctypes.CDLL(str(LIBRARIES[request.param]))


@pytest.fixture(scope="session")
def native(library: ctypes.CDLL) -> Native:
    """Makes the engine of a network, once with each library."""

    def engine(network: RET, dtype: torch.dtype = torch.float32) -> NativeEngine:
        return NativeEngine(library, network, dtype, "tested", "a test asked for it")

    return engine
