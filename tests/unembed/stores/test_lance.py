from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.unembed.stores.rows import DIM, IDS, ROWS, TEXTS, VECTORS, column_of, corpus_in
from unembed.corpus.stores import store_table
from unembed.errors import CorpusError

lance = pytest.importorskip("lance", reason="the extra `lance` (80 MB), tried by hand")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tables, as LanceDB puts them into a folder."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.reshape(-1)), DIM)
    rows = pa.table({"id": IDS, "text": TEXTS, "vector": vectors})
    lance.write_dataset(rows, tmp_path / "docs.lance")
    lance.write_dataset(rows.slice(0, 2), tmp_path / "other.lance")
    return tmp_path


@pytest.mark.parametrize(("below", "collection"), [("docs.lance", None), ("", "docs")])
def test_a_table_is_a_corpus(folder: Path, below: str, collection: str | None) -> None:
    table = store_table(f"lance:{folder / below}", collection=collection)

    vectors, ids = corpus_in(table)

    assert np.array_equal(vectors, VECTORS)
    assert ids == IDS
    assert table.rows == ROWS
    assert column_of(table, "text") == TEXTS


def test_a_version_stays_as_it_was_and_a_new_one_has_another_digest(folder: Path) -> None:
    table = store_table(f"lance:{folder}/docs.lance")

    lance.dataset(folder / "docs.lance").delete("id = 'row-1'")

    assert corpus_in(table)[1] == IDS
    newer = store_table(f"lance:{folder}/docs.lance")
    assert corpus_in(newer)[1] == [id_ for id_ in IDS if id_ != "row-1"]
    assert newer.digest() != table.digest() == table.digest()


def test_what_cannot_be_told_is_asked(folder: Path) -> None:
    with pytest.raises(CorpusError, match="has 2 collections, 'docs', 'other': name one with --collection"):
        store_table(f"lance:{folder}")
    with pytest.raises(CorpusError, match="has no collection 'nope'"):
        store_table(f"lance:{folder}", collection="nope")


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is no Lance table and holds none"):
        store_table(f"lance:{tmp_path}")
