"""Whose vectors a corpus holds: where it says it, and what is refused for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import DIM
from tests.unembed.conftest import DECODER, Run
from unembed.client import Client
from unembed.corpus import open_corpus
from unembed.corpus.embedder import METADATA
from unembed.embedders import may_be_same
from unembed.errors import EmbedderError
from unembed.models.evaluation.text_sets import Library, TextSet

VECTOR = [0.5, -0.25, 0.125]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("all-MiniLM-L6-v2", "fastembed:sentence-transformers/all-minilm-l6-v2"),
        ("openai:nomic-embed-text:latest?url=http://127.0.0.1:11434/v1", "nomic-ai/nomic_embed_text"),
        ("openai:text-embedding-3-small?dim=256", "text-embedding-3-small"),
        ("multilingual-e5-small", "/models/intfloat/multilingual-e5-small/"),
        ("sentence-transformers:mine?sha256=0123456789abcdef", "mine"),
        ("my.package:embed", "my.package:embed"),
    ],
)
def test_one_embedder_has_many_names(one: str, other: str) -> None:
    assert may_be_same(one, other)
    assert may_be_same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("all-MiniLM-L6-v2", "all-mpnet-base-v2"),
        ("all-MiniLM-L6-v2", "all-MiniLM-L12-v2"),
        ("text-embedding-3-small", "text-embedding-3-large"),
        ("model2vec:mine?sha256=0123456789abcdef", "model2vec:mine?sha256=fedcba9876543210"),
        ("my.package:embed", "my.package:other"),
    ],
)
def test_two_embedders_are_told_apart(one: str, other: str) -> None:
    assert not may_be_same(one, other)


def test_a_file_of_unembed_embed_says_whose_vectors_it_holds(tmp_path: Path) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(VECTOR * 2, pa.float32()), 3)
    table = pa.table({"embedding": vectors}).replace_schema_metadata({METADATA: b"all-MiniLM-L6-v2"})
    pq.write_table(table, tmp_path / "one.parquet")
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "silent.parquet")
    assert open_corpus(tmp_path / "one.parquet").embedder == "all-MiniLM-L6-v2"
    assert open_corpus(tmp_path / "silent.parquet").embedder is None


def test_the_answers_of_openai_say_it_too(tmp_path: Path) -> None:
    # Given a batch output of OpenAI, and a table with a column of it
    data = [{"object": "embedding", "index": 0, "embedding": VECTOR}]
    answer = {"object": "list", "data": data, "model": "text-embedding-3-small"}
    line = {"custom_id": "a", "response": {"status_code": 200, "body": answer}, "error": None}
    (tmp_path / "batch.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line) + "\n")
    pq.write_table(
        pa.table(
            {"embedding": [VECTOR, VECTOR], "embedding_model": ["bge-m3", "bge-m3"], "model": ["a car", "a boat"]}
        ),
        tmp_path / "column.parquet",
    )
    # When they are opened, Then each says whose vectors it holds, and a column of other models says nothing
    assert open_corpus(tmp_path / "batch.jsonl").embedder == "text-embedding-3-small"
    assert open_corpus(tmp_path / "batch.jsonl", "response.body.data.*.embedding").embedder == "text-embedding-3-small"
    assert open_corpus(tmp_path / "column.parquet").embedder == "bge-m3"
    pq.write_table(pa.table({"embedding": [VECTOR], "model": ["a car"]}), tmp_path / "cars.parquet")
    assert open_corpus(tmp_path / "cars.parquet").embedder is None


def test_vectors_of_another_embedder_are_refused_before_anything_is_sent(client: Client, tmp_path: Path) -> None:
    # Given a decoder that reads toy-encoder, and vectors that say they are of another
    vectors = np.ones((2, DIM), np.float32)
    with pytest.raises(EmbedderError) as raised:
        client.submit(vectors, decoder=DECODER, embedder="bge-m3")
    # Then that is said, with what would do, and there is no job
    assert raised.value.message == (
        "the vectors are of 'bge-m3', but the decoder 'toy' reads those of 'toy-encoder'; no decoder here reads them, "
        "and docs/training.md says how to make one. If they are of 'toy-encoder' after all: --embedder toy-encoder"
    )
    assert list(client.jobs().jobs) == []
    # And a decoder that fits is named
    with pytest.raises(EmbedderError, match=f"--decoder {DECODER} reads them. If"):
        client.submit(vectors, decoder="ret-v21-minilm", embedder="openai:toy-encoder?dim=8")
    # And those of the right one are taken, whatever the corpus says
    assert client.submit(vectors, decoder=DECODER, embedder="owner/toy-encoder").job.rows.total == 2


def test_what_a_corpus_says_is_heeded_and_may_be_overruled(run: Run, url: str, tmp_path: Path) -> None:
    # Given a file that names another embedder than the decoder reads
    columns = {"embedding": [[0.5] * DIM] * 2, "embedder": ["bge-m3"] * 2}
    pq.write_table(pa.table(columns), tmp_path / "corpus.parquet")
    # When it is submitted, Then it is refused
    refused = run("submit", "corpus.parquet", "--decoder", DECODER, "--url", url)
    assert refused.code == 2
    assert "the vectors are of 'bge-m3', but the decoder 'toy' reads those of 'toy-encoder'" in refused.err
    # And taken where its owner knows better
    assert run("submit", "corpus.parquet", "--decoder", DECODER, "--url", url, "--embedder", "toy-encoder").code == 0


def test_a_file_that_is_named_by_reference_says_it_too(client: Client, tmp_path: Path) -> None:
    # Given a file under an allowed root, with the name of another embedder
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([0.5] * 2 * DIM, pa.float32()), DIM)
    table = pa.table({"embedding": vectors}).replace_schema_metadata({METADATA: b"bge-m3"})
    (tmp_path / "corpora").mkdir()
    pq.write_table(table, tmp_path / "corpora" / "one.parquet")
    # When it is submitted by reference, Then it is refused, unless its owner knows better
    path = tmp_path / "corpora" / "one.parquet"
    with pytest.raises(EmbedderError, match="the vectors are of 'bge-m3'"):
        client.submit(path, decoder=DECODER, by_reference=True)
    job = client.submit(path, decoder=DECODER, by_reference=True, embedder="toy-encoder").job
    assert job.rows.total == 2


def test_sets_of_one_training_are_of_one_embedder(tmp_path: Path) -> None:
    # Given two sets that say whose vectors they hold, and one that does not
    for name, embedder in (("one", b"bge-m3"), ("two", b"e5"), ("silent", b"")):
        table = pa.table({"text": ["the sea", "a ship"], "embedding": [VECTOR, VECTOR]})
        pq.write_table(table.replace_schema_metadata({METADATA: embedder}), tmp_path / f"{name}.parquet")
    one, two, silent = (TextSet.parse(str(tmp_path / f"{name}.parquet")) for name in ("one", "two", "silent"))
    said: list[str] = []
    # When they are read together, Then the embedder is known, and another's vectors are refused
    library = Library(None, None, said.append)
    library.read_all([silent, one])
    assert library.embedder == "bge-m3"
    with pytest.raises(EmbedderError, match="two holds vectors of 'e5'; expected those of 'bge-m3'"):
        library.read(two)
    # And so it is where the encoder is named
    with pytest.raises(EmbedderError, match="two holds vectors of 'e5'; expected those of 'all-MiniLM-L6-v2'"):
        Library("all-MiniLM-L6-v2", None, said.append).read(two)
