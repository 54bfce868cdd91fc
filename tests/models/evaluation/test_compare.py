"""`unembed compare`: v2.1 and v2.0 do the same work, and the record says what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.resident import reset_peak, resident_bytes
from unembed.models.decoder.tokenizer import END
from unembed.models.device import choose
from unembed.models.evaluation.compare import SUBJECTS, Benchmark, ratios
from unembed.models.evaluation.memory import MemoryUse
from unembed.models.evaluation.workload import workload

ROOT = Path(__file__).parents[3]
COMMAND = [Path(sys.executable).with_name("unembed"), "compare", "examples/sentences.txt"]


@pytest.mark.parametrize("architecture", SUBJECTS)
def test_every_text_is_as_long_as_it_was_asked_to_be(architecture: str) -> None:
    # Given a network with random weights, and the lengths of four texts
    config = NetworkConfig.of(architecture, embedding_dim=8)
    lengths = [3, 1, 12, 7]
    # When they are decoded together
    generated = workload(config, lengths, choose("cpu")).decode(slice(None))
    # Then each ends where it should, and nowhere before
    assert generated.lengths.tolist() == lengths
    assert (generated.ids == END).sum(dim=1).tolist() == [1, 1, 1, 1]


def test_the_work_is_the_same_each_time_and_leaves_the_callers_draws_alone() -> None:
    # Given a caller that draws
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    # When it makes the same work twice, Then the weights are the same
    one, other = (workload(NetworkConfig(embedding_dim=8), [3, 1], choose("cpu", "float32")) for _ in range(2))
    assert torch.equal(one.embeddings, other.embeddings)
    assert all(map(torch.equal, one.network.parameters(), other.network.parameters()))
    # And the caller's draws are as they would have been
    assert torch.rand(3).tolist() == expected


def test_ratios_are_shares_saved_and_medians_of_the_rounds() -> None:
    def one(name: str, memory: MemoryUse) -> Benchmark:
        return Benchmark(name, 1, 10.0, memory, 1.0, 1.0, 1.0)

    # Given v2.1 with a quarter of the weights' memory, in three rounds of which the machine spoilt the second
    new, old = one("new", MemoryUse(1, 3, 8, None)), one("old", MemoryUse(4, 6, 10, None))
    rounds = [
        [(1.0, 1.0, 1.0), (2.0, 3.0, 4.0)],
        [(9.0, 9.0, 9.0), (1.0, 1.0, 1.0)],
        [(1.0, 1.0, 1.0), (2.0, 3.0, 4.0)],
    ]
    # Then the spoilt round does not count
    assert ratios(new, old, rounds) == pytest.approx(
        {
            "weights_saved": 0.75,
            "one_saved": 0.5,
            "batch_saved": 0.2,
            "batch_times_as_fast": 2.0,
            "one_times_as_fast": 3.0,
            "together_times_as_fast": 4.0,
        }
    )


def test_resident_memory_sees_what_is_written_to() -> None:
    # Given the memory now, When 200 MB are written to and given back
    reset_peak()
    before, _ = resident_bytes()
    block = torch.ones(50_000_000)
    assert float(block[-1]) == 1.0
    del block
    # Then the peak has them
    assert resident_bytes()[1] - before > 150_000_000


def test_a_small_comparison_writes_its_record_and_shows_it(tmp_path: Path) -> None:
    args = ["--rows", "6", "--rounds", "1", "--embedding-dim", "16", "--threads", "1"]
    where = ["--device", "cpu", "--precision", "bfloat16"]
    done = subprocess.run(
        [*COMMAND, *args, *where, "--out", tmp_path / "new" / "record.json"],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "new" / "record.json").read_text())
    assert record["command"].startswith("unembed compare examples/sentences.txt --rows 6")
    assert (record["machine"]["device"], record["machine"]["precision"]) == ("cpu", "bfloat16")
    for name in SUBJECTS:
        measured = record["measured"][name]
        assert measured["parameters"] == NetworkConfig.of(name, embedding_dim=16).parameters
        assert measured["memory"]["weights"] == 4 * measured["parameters"]
        assert measured["memory"]["batch"] > measured["memory"]["weights"] / 2
        assert measured["rows_per_second"] > 0
    assert "rows a second" in done.stdout


def test_more_rows_than_texts_are_refused() -> None:
    done = subprocess.run([*COMMAND, "--rows", "601"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "rows is 601; expected 1 to 600, the number of texts" in done.stderr
