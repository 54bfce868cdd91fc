"""The notebook's cells run in their order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unembed.examples.conftest import EXAMPLES

NOTEBOOK = json.loads((EXAMPLES / "first_look.ipynb").read_text(encoding="utf-8"))


def test_the_notebook_runs_twice_from_its_first_cell_to_its_last(
    server: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a server, and the corpus beside the notebook
    shutil.copy(EXAMPLES / "sentences.parquet", folder)
    # When its cells are run, and run again, Then each works, and it ends with a file
    for _ in range(2):
        names: dict[str, Any] = {}
        for cell in NOTEBOOK["cells"]:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        names["client"].close()
        assert capsys.readouterr().out.endswith("600 rows in texts.parquet\n")


def test_what_the_notebook_shows_is_little() -> None:
    assert sum(len(json.dumps(cell.get("outputs", []))) for cell in NOTEBOOK["cells"]) < 5000
