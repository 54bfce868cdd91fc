from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unembed.stores.rows import DIM, ROWS, VECTORS, corpus_in
from unembed.corpus.stores import store_table
from unembed.errors import CorpusError

faiss = pytest.importorskip("faiss", reason="the extra `faiss`")

KEYS = np.array([50, 10, 40, 20, 30])


def written(path: Path, kind: str, ids: Any = None) -> str:
    index = faiss.index_factory(DIM, kind)
    index.train(VECTORS)
    if ids is None:
        index.add(VECTORS)
    else:
        index.add_with_ids(VECTORS, ids)
    faiss.write_index(index, str(path))
    return f"faiss:{path}"


@pytest.mark.parametrize("kind", ["Flat", "HNSW4", "IVF2,Flat", "PQ2x2,RFlat"])
def test_an_index_that_keeps_floats_gives_them_back_in_order(kind: str, tmp_path: Path) -> None:
    table = store_table(written(tmp_path / "docs.faiss", kind))

    vectors, ids = corpus_in(table)

    assert np.array_equal(vectors, VECTORS)
    assert ids is None
    assert table.rows == ROWS
    assert table.what == f"faiss:{tmp_path}/docs.faiss"


@pytest.mark.parametrize("kind", ["IDMap,Flat", "IDMap2,Flat", "IDMap,HNSW4", "IVF2,Flat", "IDMap,IVF2,Flat"])
def test_ids_of_an_index_go_with_their_vectors(kind: str, tmp_path: Path) -> None:
    vectors, ids = corpus_in(store_table(written(tmp_path / "docs.faiss", kind, KEYS)))

    found = dict(zip(ids or (), vectors, strict=True))
    assert set(found) == {str(key) for key in KEYS}
    assert all(np.array_equal(found[str(key)], VECTORS[row]) for row, key in enumerate(KEYS))


@pytest.mark.parametrize("kind", ["SQ8", "SQfp16", "IVF2,SQ8", "HNSW4_SQ8", "PCA3,Flat"])
def test_a_quantised_index_says_that_its_vectors_are_approximate(kind: str, tmp_path: Path) -> None:
    table = store_table(written(tmp_path / "docs.faiss", kind))

    # What PCA leaves out of vectors on a line, rounding decides; the mean may be in it
    assert np.allclose(corpus_in(table)[0], VECTORS, atol=0.3 if kind.startswith("PCA") else 0.05)
    assert table.what.endswith("(quantised: its vectors are approximate)")


def test_an_index_from_which_nothing_can_be_reconstructed_says_why(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is IndexPreTransform, from which FAISS cannot reconstruct vectors"):
        store_table(written(tmp_path / "docs.faiss", "ITQ2,LSH"))


def test_the_fast_scan_of_lists_is_refused_before_it_ends_the_process(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((64, DIM)).astype(np.float32)
    index = faiss.index_factory(DIM, "IVF2,PQ2x4fs")
    index.train(rows)
    index.add(rows)
    faiss.write_index(index, str(tmp_path / "docs.faiss"))

    with pytest.raises(CorpusError, match="is IndexIVFPQFastScan, from which FAISS cannot reconstruct vectors"):
        store_table(f"faiss:{tmp_path / 'docs.faiss'}")


def test_a_file_that_is_no_index_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "docs.faiss"
    written(path, "Flat")
    whole = path.read_bytes()
    faiss.write_index_binary(faiss.IndexBinaryFlat(64), str(tmp_path / "bits.faiss"))
    (tmp_path / "cut.faiss").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.faiss").write_bytes(b"no index at all")
    (tmp_path / "empty.faiss").write_bytes(b"")

    for name, said in (("bits", "one of bits"), ("text", "it is no FAISS index"), ("cut", "read"), ("empty", "")):
        with pytest.raises(CorpusError, match=f"{name}.faiss cannot be read: .*{said}") as raised:
            store_table(f"faiss:{tmp_path / name}.faiss")
        assert "\n" not in raised.value.message
    with pytest.raises(CorpusError, match="is a folder; expected a FAISS index"):
        store_table(f"faiss:{tmp_path}")


def test_an_empty_index_is_empty(tmp_path: Path) -> None:
    faiss.write_index(faiss.IndexFlatL2(DIM), str(tmp_path / "docs.faiss"))
    with pytest.raises(CorpusError, match="it has 0 rows"):
        corpus_in(store_table(f"faiss:{tmp_path / 'docs.faiss'}"))
