"""Which library is chosen for which CPU, and what is said where there is none."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from tests.models.decoder.toy import random_network
from unembed.errors import InputError
from unembed.models.decoder import native_library
from unembed.models.decoder.engines import NativeEngine, TorchEngine, engine_for
from unembed.models.decoder.native_library import LIBRARY, NEEDS, best, find_native, installed
from unembed.models.device import Device

ALL = {isa: Path(f"engine_{isa}.so") for isa in NEEDS}
AVX2 = frozenset({"avx2", "fma"})
CPU = Device(torch.device("cpu"), torch.float32)


@pytest.fixture(autouse=True)
def _looked_for_anew() -> Iterator[None]:
    find_native.cache_clear()
    yield
    find_native.cache_clear()


@pytest.mark.parametrize(
    ("flags", "isa", "reason"),
    [
        (frozenset(), "baseline", "the CPU has no avx2, which avx2 needs"),
        (AVX2, "avx2", "the CPU has no avx512bw, which avx512 needs"),
        (NEEDS["avx512"], "avx512", "the CPU has no avx512_bf16, which avx512bf16 needs"),
        (NEEDS["avx512bf16"], "avx512bf16", "it is the fastest there is"),
    ],
)
def test_the_fastest_library_that_the_cpu_can_run_is_chosen(flags: frozenset[str], isa: str, reason: str) -> None:
    assert best(flags, ALL) == (isa, reason)


def test_a_library_that_was_not_compiled_is_passed_over() -> None:
    assert best(NEEDS["avx512bf16"], {"avx2": Path(), "baseline": Path()}) == ("avx2", "avx512 was not compiled")


def test_without_a_library_for_this_cpu_there_is_none() -> None:
    assert best(frozenset(), {"avx2": Path()}) == (
        None,
        "unembed-engine has no library for this CPU: baseline was not compiled",
    )


def test_without_the_package_torch_decodes_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an environment without unembed-engine
    def missing(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "unembed_engine" else importlib.util.find_spec(name, package)

    monkeypatch.setattr(native_library, "find_spec", missing)
    # Then torch decodes
    engine = engine_for(random_network(), CPU)
    assert (engine.name, engine.reason) == ("torch", "unembed-engine is not installed")
    # And who insists on the native engine is told
    with pytest.raises(InputError, match=r"the engine is 'native', but unembed-engine is not installed; expected"):
        engine_for(random_network(), CPU, "native")


def test_a_file_that_is_no_library_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "engine_avx2.so"
    broken.write_text("not a library")
    monkeypatch.setenv(LIBRARY, str(broken))
    found, reason = find_native()
    assert found is None
    assert reason.startswith("engine_avx2.so cannot be loaded: ")
    assert "\n" not in reason


@pytest.mark.skipif(not installed(), reason="unembed-engine is not installed")
def test_a_library_of_another_version_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIBRARY, str(shutil.copy(installed()["baseline"], tmp_path)))
    ours = native_library.ABI
    monkeypatch.setattr(native_library, "ABI", 99)
    found, reason = find_native()
    assert found is None
    assert reason.startswith(f"engine_baseline.so has the interface {ours}; expected 99")


@pytest.mark.skipif(not installed(), reason="unembed-engine is not installed")
def test_the_native_engine_serves_where_it_can() -> None:
    assert isinstance(engine_for(random_network(), CPU), NativeEngine)
    assert isinstance(engine_for(random_network(), Device(CPU.torch_device, torch.bfloat16)), NativeEngine)


@pytest.mark.parametrize(
    ("device", "changes", "obstacle"),
    [
        (Device(torch.device("meta"), torch.float32), {}, "runs on a CPU, and the device is meta"),
        (Device(torch.device("cpu"), torch.float16), {}, "has float32 and bfloat16, and the precision is float16"),
        (CPU, {"passes": 2}, "serves networks of one layer, and this one applies 2"),
        (CPU, {"layers": 3}, "serves networks of one layer, and this one applies 3"),
    ],
)
def test_where_it_cannot_torch_decodes_and_says_why(device: Device, changes: dict[str, int], obstacle: str) -> None:
    network = random_network(**changes)
    engine = engine_for(network, device)
    assert isinstance(engine, TorchEngine)
    assert engine.reason == f"the native engine {obstacle}"
    with pytest.raises(InputError, match=f"{obstacle}; expected 'auto' or 'torch'"):
        engine_for(network, device, "native")


def test_torch_decodes_where_it_is_asked_for() -> None:
    engine = engine_for(random_network(), CPU, "torch")
    assert (engine.name, engine.reason) == ("torch", "it was asked for")
