"""`unembed embed`: by a server of embeddings, which may cost money."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.models.encoders.openai_server import OpenAIServer, openai_server
from tests.unembed.conftest import Run
from unembed.cli import spending
from unembed.cli.spending import Purse
from unembed.corpus import open_corpus
from unembed.errors import InputError
from unembed.models.encoders import openai_api, paid
from unembed.models.encoders.paid import Bill


@pytest.fixture(autouse=True)
def _nobody_is_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paid, "_approvers", [])


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as one:
        yield one


def test_a_corpus_is_embedded_once_and_says_whose_vectors_it_holds(
    run: Run, server: OpenAIServer, tmp_path: Path
) -> None:
    # Given texts, and a server of this machine, which costs nothing
    (tmp_path / "texts.txt").write_text("the sea\na ship\nthe sea\n")
    spec = f"openai:some-model?url={server.url}&dim=8"
    # When they are embedded twice
    for out in ("one.parquet", "two.npy"):
        ran = run("embed", "texts.txt", "-o", out, "--encoder", spec)
        assert ran.code == 0, ran.err
    # Then nothing is asked for twice, and the parquet file names the embedder
    assert server.texts == ["the sea", "a ship"]
    table = pq.read_table(tmp_path / "one.parquet")
    assert table["text"].to_pylist() == ["the sea", "a ship", "the sea"]
    assert open_corpus(tmp_path / "one.parquet").embedder == f"openai:some-model?dim=8&url={server.url}"
    vectors = np.load(tmp_path / "two.npy", allow_pickle=False)
    assert vectors.shape == (3, 8)
    assert vectors.tolist() == table["embedding"].to_pylist()


def test_what_costs_money_is_asked_about(
    run: Run, server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given enough texts to cost something, and a server that might take money for them
    (tmp_path / "texts.txt").write_text("".join(f"number {number} of many long texts\n" for number in range(2000)))
    monkeypatch.setattr(openai_api, "LOOPBACK", frozenset())
    spec = f"openai:some-model?url={server.url}"
    # When nobody can be asked, Then nothing is embedded
    refused = run("embed", "texts.txt", "-o", "out.npy", "--encoder", spec)
    assert refused.code == 2
    assert "2,000 texts, about" in refused.err
    assert "there is no terminal to ask on; expected --yes" in refused.err
    assert server.requests == []
    # And with --yes it is
    assert run("embed", "texts.txt", "-o", "out.npy", "--encoder", spec, "--yes").code == 0
    assert len(server.texts) == 2000


def test_after_a_yes_little_more_is_not_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a person who says yes
    asked: list[Bill] = []
    monkeypatch.setattr(spending, "_ask", asked.append)
    purse = Purse(is_open=False)
    # When a little, then much, then a little more and again much is to be spent
    little, much = (Bill("openai:x", 10, tokens, 0, 0.02) for tokens in (1000, 10_000_000))
    for bill in (little, much, little, little, much, much):
        purse(bill)
    # Then only what is more than twice what was agreed to is asked about
    assert asked == [much, much]
    # And of tokens at an unknown price, more than a few
    unknown = Bill("openai:x", 10, 9000, 0, None)
    for bill in (unknown, unknown):
        purse(bill)
    assert asked[2:] == [unknown]


def test_an_answer_is_expected_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="embedding 5 texts costs money"):
        spending._ask(Bill("openai:x", 5, 50_000, 0, None))


def test_an_encoder_that_is_none_is_refused_before_the_texts_are_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("the sea\n")
    for encoder, says in (
        ("word2vec", "unknown encoder 'word2vec'; there are: all-MiniLM-L6-v2"),
        ("sentence-transformers:./nowhere", "is no folder of a model here"),
    ):
        ran = run("embed", "texts.txt", "-o", "out.npy", "--encoder", encoder)
        assert ran.code == 2
        assert says in ran.err


def test_a_server_of_embeddings_needs_no_torch() -> None:
    # Given an environment without torch, When the verb is imported and such an encoder opened, Then that works
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import unembed.cli.embed\n"
        "from unembed.models.encoders.permission import permit\n"
        "from unembed.models.encoders.registry import open_encoder\n"
        "print(open_encoder(permit('openai:some-model?dim=4&url=http://127.0.0.1:9/v1')).dim)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "4\n"
