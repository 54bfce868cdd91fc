"""The GPU's benchmark, in its short form on a CPU: that it runs and tells, not what it tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_page import page
from benchmarks.gpu_roofline import Ceilings, Work, work_of
from unembed.models.decoder.config import NetworkConfig


@pytest.mark.usefixtures("one_thread")
def test_the_short_form_measures_every_part_and_writes_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given the script without the runs that warm up a GPU, When it is run on a CPU
    monkeypatch.setattr(gpu, "WARM", 1)
    assert gpu.main(["--device", "cpu", "--precision", "float32", "--short", "--out", str(tmp_path)]) == 0
    # Then the numbers are there, of every part
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [one["rows"] for one in found["batches"]] == [1, 4]
    assert all(one[name]["rows_a_second"] > 0 for one in found["batches"] for name in ("graph", "torch"))
    assert [one["architecture"] for one in found["pair"]] == ["resource_efficient_v21", "resource_efficient_v2"]
    assert set(found["latency"]) == {"graph", "torch"}
    # And the texts are those of the plain loop
    (equality,) = found["equality"]
    assert (equality["precision"], equality["rows"], equality["rows_that_differ"]) == ("float32", 8, 0)
    assert equality["most_nats_apart"] < 1e-3
    # And the section is both printed and written
    section = (tmp_path / "gpu.md").read_text()
    assert section == page(found)
    assert section in capsys.readouterr().out


@pytest.mark.usefixtures("one_thread")
def test_what_there_is_no_time_for_is_left_out_and_the_page_says_so(tmp_path: Path) -> None:
    # Given no time at all, When it is run
    assert gpu.main(["--device", "cpu", "--short", "--seconds", "0.001", "--out", str(tmp_path)]) == 0
    # Then it ends all the same, without what takes long
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert (found["batches"], found["pair"]) == ([None, None], [None, None])
    assert "**Rows a second**" in page(found)


def test_without_the_device_it_says_so_in_one_line_and_measures_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "none")]) == 69
    told = capsys.readouterr()
    assert told.err == "nothing was measured: device 'cuda' is not available here; there are: auto, cpu\n"
    assert not told.out
    assert not (tmp_path / "none").exists()


def test_the_roofline_is_the_slower_of_products_and_memory() -> None:
    # Given a device of 100 FLOP/s and 10 B/s
    top = Ceilings(100.0, 10.0, {})
    # When a row needs more of one or of the other, Then that is what limits it
    assert top.rows_a_second(Work(flop=200.0, moved=1.0)) == pytest.approx(0.5)
    assert top.rows_a_second(Work(flop=1.0, moved=40.0)) == pytest.approx(0.25)


def test_the_work_of_a_row_is_what_the_folded_network_multiplies() -> None:
    # Given v2.1 at 768 dimensions, and a row of one piece
    config = NetworkConfig()
    # When its work is counted, Then it is the reading of the vector, one step, and attention to one position
    reading = 768 * 256 + 3 * 256 * 256
    step = 256 * 256 + 2 * 256 * 384 + 256 * 256
    assert work_of(config, torch.float16, 1.0).flop == 2 * (reading + step + 2 * 256)
