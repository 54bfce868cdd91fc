"""The threads of torch wait without spinning, which has to be said before torch is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unembed.threads import wait_without_spinning

# Tells what the environment says at the moment at which torch is asked for, and ends.
WATCH = """
import os, sys

class Watch:
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
from unembed.cli import main
main()
"""


def test_a_value_that_is_set_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_without_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(
    "args",
    [
        ["train", "--set", "toys=t.txt", "-o", "mine"],
        ["tune", "--set", "toys=t.txt", "--dev", "toys=t.txt", "-o", "search"],
        ["evaluate", "--set", "toys=t.txt"],
    ],
    ids=lambda args: args[0],
)
def test_what_computes_says_so_before_torch_is_imported(tmp_path: Path, args: list[str]) -> None:
    # Given an environment that says nothing
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    # When a verb comes to import torch, Then the policy is set
    command = [sys.executable, "-c", WATCH, *args]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["PASSIVE"], done.stderr
