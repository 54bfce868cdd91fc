"""The process that is timed also runs in the checkout of the commit before, whose modules lie elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.asked import Asked, commit_before
from benchmarks.subject import TimedProcess


@pytest.mark.xdist_group("benchmarks")
def test_the_commit_before_decodes_by_default_as_it_did_greedily(tmp_path: Path) -> None:
    with commit_before() as checkout:
        if checkout is None:
            pytest.skip("the commit before is not in this clone")
        # Given the commit before, and the vectors of the example sentences
        given = {"precision": "float32", "rows": 8, "micro_batch": 8}
        vectors = str(Asked.short(tmp_path).vectors)
        with TimedProcess("ours.py", vectors, checkout=checkout) as before:
            # When it decodes by default, and greedily
            texts = [
                before.ask("decode_rows", options=options, **given)["texts"] for options in ({}, {"candidates": 1})
            ]
            # Then its texts are the same: it is greedy that today's default is compared with
            assert texts[0] == texts[1]
            assert "embed" not in before.ask("facts")["options"]
