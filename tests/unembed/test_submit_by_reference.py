"""The client and the command line send where a corpus is, and not the corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Hand, Run
from unembed.client import Client
from unembed.errors import IdempotencyError, InputError, RootsError
from unembed.schemas import JobState


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A corpus where the server may read it."""
    (tmp_path / "corpora").mkdir()
    np.save(tmp_path / "corpora" / "c.npy", np.random.default_rng(1).normal(size=(1100, DIM)).astype(np.float32))
    return tmp_path / "corpora" / "c.npy"


def test_a_corpus_is_submitted_by_reference_and_its_texts_are_read(client: Client, hand: Hand, path: Path) -> None:
    # Given a worker
    hand.start()
    sent: list[tuple[int, int]] = []
    # When a corpus of more batches than a request may have is submitted by reference
    job = client.submit(
        path, decoder=DECODER, batch_size=2, by_reference=True, progress=lambda done, of: sent.append((done, of))
    )
    job.wait(60)
    # Then every row has its text, in order
    assert job.job.state is JobState.SUCCEEDED
    assert job.to_arrow().column("text").to_pylist() == [f"text {index}" for index in range(1100)]
    assert sent == [(1000, 1100), (1100, 1100)]


def test_a_submit_by_reference_can_be_repeated(client: Client, path: Path) -> None:
    # Given a corpus that was submitted under a key
    again = {"decoder": DECODER, "batch_size": 50, "by_reference": True, "idempotency_key": "k"}
    job = client.submit(path, **again)
    # When it is submitted again, Then it is the same job
    assert client.submit(str(path), **again).id == job.id
    # And when the file is another by now, Then it is not
    np.save(path, np.zeros((3, DIM), np.float32))
    with pytest.raises(IdempotencyError, match="fingerprint"):
        client.submit(path, **again)


def test_a_file_elsewhere_is_refused_and_leaves_no_job_open(client: Client, path: Path, tmp_path: Path) -> None:
    elsewhere = path.rename(tmp_path / "c.npy")
    with pytest.raises(RootsError, match="not under an allowed root"):
        client.submit(elsewhere, decoder=DECODER, by_reference=True)
    assert [job.state for job in client.jobs().jobs] == [JobState.CANCELLED]


@pytest.mark.parametrize("source", [np.ones((2, DIM), np.float32), [[1.0] * DIM]])
def test_vectors_in_memory_have_no_reference(client: Client, source: object) -> None:
    with pytest.raises(InputError, match=r"by reference is the paths or URIs of files, not (ndarray|list)"):
        client.submit(source, decoder=DECODER, by_reference=True)


def test_ids_in_memory_do_not_go_with_a_reference(client: Client, path: Path) -> None:
    with pytest.raises(InputError, match="not ids in memory"):
        client.submit(path, decoder=DECODER, by_reference=True, ids=["a"])


def test_the_command_line_submits_by_reference(run: Run, url: str, path: Path, client: Client) -> None:
    ran = run("submit", path, "--by-reference", "--decoder", DECODER, "--batch-size", 100, "--url", url)
    assert ran.code == 0, ran.err
    job = client.job(ran.out.strip()).job
    assert (job.name, job.rows.total, job.batches.total) == ("c.npy", 1100, 11)
    assert "1,100 rows named" in ran.err
    (first, *_) = client.batches(job.id)
    assert first.reference is not None
    assert first.reference.uri == f"file://{path}"


def test_the_command_line_refuses_a_uri_that_is_none(run: Run, url: str) -> None:
    ran = run("submit", "ftp://host/c.npy", "--by-reference", "--url", url)
    assert ran.code == 2
    assert "'ftp://host/c.npy' has the scheme 'ftp'; expected file:///" in " ".join(ran.err.split())


def test_texts_are_written_to_files_and_read_as_ever(
    run: Run, url: str, path: Path, client: Client, hand: Hand, tmp_path: Path
) -> None:
    # Given a worker
    hand.start()
    # When a corpus is submitted with a place for its texts
    ran = run(
        "submit", path, "--by-reference", "--results-to", tmp_path / "texts", "--decoder", DECODER, "--url", url,
        "--batch-size", 100,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    job = client.job(ran.out.strip()).wait(60)
    # Then they are in files there, one a batch, and come through the server as those of any job
    assert len(list((tmp_path / "texts").iterdir())) == 11
    assert job.to_arrow().column("text").to_pylist() == [f"text {index}" for index in range(1100)]
    # And they go with the job
    job.remove()
    assert list((tmp_path / "texts").iterdir()) == []
