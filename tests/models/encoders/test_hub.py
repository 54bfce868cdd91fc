"""Names of the Hugging Face Hub: pinned to a commit, and read from its cache without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi, constants

from tests.models.encoders.folders import WIDTH, write_bert
from unembed.errors import UnavailableError
from unembed.models.encoders.permission import permit
from unembed.models.encoders.registry import open_encoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the Hub, and no way to the Hub itself."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_name_of_the_hub_is_pinned_to_its_commit_and_read_from_the_cache(cache: Path) -> None:
    # Given a model in the cache, by its owner's name
    model = cache / "models--owner--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    write_bert(model / "snapshots" / COMMIT)
    # When it is named, Then the name holds the commit
    name = permit("sentence-transformers:owner/tiny?dim=8")
    assert name == f"sentence-transformers:owner/tiny?dim=8&revision={COMMIT}"
    # And its vectors are those of the folder
    folder = open_encoder(permit(f"sentence-transformers:{model / 'snapshots' / COMMIT}?dim=8"))
    texts = ["the sea is deep"]
    assert np.abs(open_encoder(name).encode(texts) - folder.encode(texts)).max() < 1e-5
    assert open_encoder(name).dim == 8 < WIDTH


def test_a_name_of_the_hub_is_not_taken_for_one_that_unembed_knows(cache: Path) -> None:
    model = cache / "models--sentence-transformers--all-MiniLM-L6-v2"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    write_bert(model / "snapshots" / COMMIT)
    assert open_encoder(permit("sentence-transformers:all-MiniLM-L6-v2")).dim == WIDTH


def test_a_model_that_cannot_be_had_is_named(cache: Path) -> None:
    # Given an empty cache: Then the name stays as it is, and what is missing is said when it is needed
    name = permit("sentence-transformers:tiny")
    assert name == "sentence-transformers:tiny"
    with pytest.raises(UnavailableError, match=r"'sentence-transformers/tiny' is not in the cache of the Hub.*FOLDER"):
        open_encoder(name)


def test_where_the_cache_knows_no_commit_the_hub_is_asked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Info:
        sha = COMMIT

    monkeypatch.setattr(HfApi, "model_info", lambda self, name, timeout: Info())
    assert permit("model2vec:owner/words") == f"model2vec:owner/words?revision={COMMIT}"
