from __future__ import annotations

import pytest

from unembed.worker import devices
from unembed.worker.devices import seats


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where torch counts four."""
    monkeypatch.setattr(devices, "_torch_counts", lambda: 4)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")


@pytest.fixture(autouse=True)
def _none_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def pinned(found: list[devices.Seat]) -> list[tuple[str, str | None]]:
    return [(seat.name, seat.environment.get("CUDA_VISIBLE_DEVICES")) for seat in found]


def test_without_a_gpu_there_is_one_worker_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert pinned(seats(None, "auto")) == [("cpu0", None)]


@pytest.mark.usefixtures("gpus")
def test_each_gpu_gets_a_worker_of_its_own() -> None:
    assert pinned(seats(None, "auto")) == [("gpu0", "0"), ("gpu1", "1"), ("gpu2", "2"), ("gpu3", "3")]


@pytest.mark.usefixtures("gpus")
def test_more_workers_than_gpus_share_them_in_turn() -> None:
    names = [name for name, _ in pinned(seats(6, "auto"))]
    assert names == ["gpu0", "gpu1", "gpu2", "gpu3", "gpu0-1", "gpu1-1"]


@pytest.mark.usefixtures("gpus")
def test_gpus_that_are_hidden_from_us_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-abc")
    assert pinned(seats(None, "auto")) == [("gpu0", "2"), ("gpu1", "GPU-abc")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert pinned(seats(None, "auto")) == [("cpu0", None)]


@pytest.mark.usefixtures("gpus")
def test_whoever_asks_for_the_cpu_gets_it() -> None:
    assert pinned(seats(2, "cpu")) == [("cpu0", None), ("cpu1", None)]


def test_workers_share_the_cores_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_cores", lambda: 8)
    assert [seat.environment["UNEMBED_THREADS"] for seat in seats(3, "cpu")] == ["2", "2", "2"]
    monkeypatch.setenv("UNEMBED_THREADS", "5")
    assert seats(3, "cpu")[0].environment["OMP_NUM_THREADS"] == "5"
