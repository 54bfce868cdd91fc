"""`--dry-run`: what a corpus has and how long it would take, and nothing is sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Run
from unembed.cli.dry_run import scan
from unembed.client import Client
from unembed.corpus import corpus_from_array
from unembed.models.settings import Settings


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """25 rows, of which one is not finite, one overflows float32, and one is zero."""
    rows = np.linspace(-1, 1, 25 * DIM).reshape(25, DIM)
    rows[3, 0], rows[4, 0], rows[5] = np.nan, 1e300, 0.0
    np.save(tmp_path / "a.npy", rows)
    return tmp_path / "a.npy"


@pytest.fixture
def server(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("UNEMBED_URL", url)
    return url


@pytest.mark.parametrize("verb", [("submit",), ("decode", "-o", "out.parquet")])
def test_a_dry_run_tells_rows_and_errors_and_sends_nothing(
    run: Run, server: str, corpus: Path, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    # Given a server, When a corpus with bad rows is tried
    ran = run(*verb, corpus, "--decoder", DECODER, "--batch-size", 10, "--dry-run")
    # Then stdout tells what it has, and what cannot be known
    assert ran.code == 0, ran.err
    said = " ".join(ran.out.split())
    assert "rows 25 " in said
    assert "errors 3 rows: 2 not_finite, 1 zero_vector" in said
    assert "batches 3 of 10 rows" in said
    assert "rows/s not known: no worker runs" in said
    assert "time not known" in said
    assert "nothing was sent" in said
    # And nothing was: there is no job, and no file
    with Client(server) as client:
        assert client.jobs().jobs == []
    assert not (tmp_path / "out.parquet").exists()


def test_by_reference_the_vectors_are_not_looked_at(run: Run, server: str, corpus: Path) -> None:
    np.save(corpus, np.ones((25, DIM), dtype=np.float32))
    ran = run("submit", corpus, "--by-reference", "--decoder", DECODER, "--dry-run")
    assert ran.code == 0, ran.err
    assert "errors not looked for" in " ".join(ran.out.split())


def test_without_a_server_a_decode_starts_none_and_knows_no_pace(
    run: Run, server_settings: Settings, corpus: Path
) -> None:
    # Given a decoder and no server, When a decode is tried
    ran = run("decode", corpus, "-o", "out.parquet", "--decoder", DECODER, "--dry-run")
    # Then the corpus is told of, and that nothing is known of the pace
    assert ran.code == 0, ran.err
    assert "not known: no server runs" in " ".join(ran.out.split())
    # And what could not be decoded is refused, as it would be
    np.save(corpus, np.ones((2, DIM + 1), dtype=np.float32))
    refused = run("decode", corpus, "-o", "out.parquet", "--decoder", DECODER, "--dry-run")
    assert refused.code == 2
    assert f"{DIM + 1} dimensions" in refused.err


def test_a_row_without_a_vector_is_told_apart() -> None:
    # Given rows in memory of which one is missing and one is zero
    found = scan(corpus_from_array([[1.0] * DIM, None, [0.0] * DIM]))
    assert (found.rows, found.errors) == (3, {"no_vector": 1, "zero_vector": 1})


def test_a_scan_counts_what_is_read() -> None:
    found = scan(corpus_from_array(np.ones((20_000, DIM), dtype=np.float16)))
    assert (found.rows, found.bytes, found.errors) == (20_000, 20_000 * DIM * 2, {})
