"""A short form of `make sanitizers`: the engine reads and writes nothing but what is its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.decoder.native.sanitized import compile_sanitized, run, runtimes

# One test of each way through the engine, at odd widths.
SOME = (
    "(beams_are and odd and named) or (given_texts and odd) or (any_number and 19) or (each_option and odd and top_p)"
    " or (of_one_embedding and odd) or no_texts or each_breadth or neither_on_the_batch"
)


@pytest.mark.skipif(not runtimes(), reason="g++ with libasan and libubsan is not installed")
def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    library = tmp_path / "engine_wide.so"
    compile_sanitized(library, "wide")
    done = run(library, ["-k", SOME])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert " passed" in done.stdout
