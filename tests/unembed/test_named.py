"""What the words of training name: SOURCE[#QUERY][:COLUMN...], and TEXTS,EMBEDDINGS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unembed.corpus import stacked as arrays
from unembed.corpus.named import Named, split_pair
from unembed.corpus.stacked import stacked, usable


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("docs.parquet", Named("docs.parquet")),
        ("docs.parquet:text:embedding", Named("docs.parquet", columns=("text", "embedding"))),
        ("docs.parquet:text", Named("docs.parquet", columns=("text",))),
        ("docs.parquet::embedding", Named("docs.parquet", columns=("", "embedding"))),
        ("shards/*.jsonl:body.text:e.0.v", Named("shards/*.jsonl", columns=("body.text", "e.0.v"))),
        ("hf://datasets/a/b@main", Named("hf://datasets/a/b@main")),
        ("s3://b/k.parquet:text:emb", Named("s3://b/k.parquet", columns=("text", "emb"))),
        ("https://host:8443/a.parquet:t:e", Named("https://host:8443/a.parquet", columns=("t", "e"))),
        ("C:\\data\\docs.parquet:text:emb", Named("C:\\data\\docs.parquet", columns=("text", "emb"))),
        ("qdrant:http://localhost:6333", Named("qdrant:http://localhost:6333")),
        ("qdrant:http://h:6333:p.text:v", Named("qdrant:http://h:6333", columns=("p.text", "v"))),
        ("qdrant:./f#docs:payload.text:v", Named("qdrant:./f", collection="docs", columns=("payload.text", "v"))),
        ("lance:docs.lance:text:vector", Named("lance:docs.lance", columns=("text", "vector"))),
        (
            "postgresql://me@h:5432/db#select a::text as text, e as embedding from d",
            Named("postgresql://me@h:5432/db", query="select a::text as text, e as embedding from d"),
        ),
        ("sqlite:docs.db", Named("sqlite:docs.db")),
    ],
)
def test_a_word_names_a_source_its_columns_and_what_to_ask_of_it(word: str, expected: Named) -> None:
    assert Named.parse(word) == expected


def test_a_password_with_a_number_sign_is_not_cut_in_two() -> None:
    word = "postgresql://me:p#ss@h/db"
    assert Named.parse(word) == Named(word)  # which the store refuses, and says how to write it


def test_what_exists_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given files whose names have colons and commas
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.parquet", "a,b.txt", "v.npy"):
        (tmp_path / name).touch()
    # Then they are not cut
    assert Named.parse("a:b.parquet") == Named("a:b.parquet")
    assert Named.parse("a:b.parquet:text") == Named("a:b.parquet", columns=("text",))
    assert split_pair("a,b.txt") == ("a,b.txt", None)
    assert split_pair("a,b.txt,v.npy") == ("a,b.txt", "v.npy")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("t.txt", ("t.txt", None)),
        ("t.txt,v.npy", ("t.txt", "v.npy")),
        ("sqlite:d.db#select text, embedding from d", ("sqlite:d.db#select text, embedding from d", None)),
        ("t.txt,sqlite:d.db#select id, embedding from d", ("t.txt", "sqlite:d.db#select id, embedding from d")),
    ],
)
def test_a_comma_parts_texts_from_embeddings_but_not_a_query(word: str, expected: tuple[str, str | None]) -> None:
    assert split_pair(word) == expected


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("runs/docs.parquet", "docs"),
        ("a.jsonl.gz", "a"),
        ("hf://datasets/me/talks", "talks"),
        ("qdrant:./f#talks", "talks"),
        ("postgresql://me:secret@h/shop#select 1", "shop"),
        ("C:\\data\\docs.parquet", "docs"),
    ],
)
def test_a_source_without_a_name_is_called_after_its_file(word: str, stem: str) -> None:
    assert Named.parse(word).stem == stem


def test_large_vectors_lie_in_a_file_and_small_ones_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given vectors of which one is none
    some = np.ones((5, 4), np.float16)
    some[2, 1] = np.nan
    kept = usable(some)
    for most, kind in ((10**9, np.ndarray), (8, np.memmap)):
        monkeypatch.setattr(arrays, "IN_MEMORY", most)
        # When those that are some are put together, twice
        made = stacked([(some, kept), (some, None)], 10, 4, some.dtype)
        # Then they are there in half precision, in memory or not
        assert type(made) is kind
        assert made.dtype == np.float16
        assert made.shape == (9, 4)
        assert np.isfinite(made[:4]).all()
