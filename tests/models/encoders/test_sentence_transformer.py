"""Folders of sentence-transformers: their vectors, their names in a checkpoint, and what of them is never run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.encoders.folders import WIDTH, write_bert
from unembed.errors import CheckpointError, InputError
from unembed.models.encoders.permission import permit
from unembed.models.encoders.registry import open_encoder, why_not

TEXTS = ["the sea is deep", "a cold place", "where old ships sleep and the sea is cold and deep"]
CLOSE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("models") / "tiny")


def reference(folder: Path, texts: list[str]) -> np.ndarray:
    """Unit vectors by sentence-transformers itself."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return np.asarray(model.encode(texts, normalize_embeddings=True, show_progress_bar=False))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_vectors_are_those_of_sentence_transformers(tmp_path: Path, pooling: str) -> None:
    # Given a folder that pools in one way or another
    folder = write_bert(tmp_path / "tiny", pooling=pooling)
    # When its texts are embedded
    encoder = open_encoder(permit(f"sentence-transformers:{folder}"))
    vectors = encoder.encode(TEXTS)
    # Then the vectors are those of the library, of length 1
    assert encoder.dim == WIDTH
    assert vectors.dtype == np.float32
    assert np.abs(vectors - reference(folder, TEXTS)).max() < CLOSE


def test_a_prefix_and_fewer_dimensions_are_asked_for_in_the_spec(folder: Path) -> None:
    encoder = open_encoder(permit(f"sentence-transformers:{folder}?prefix=query : &dim=8"))
    by_hand = reference(folder, [f"query : {text}" for text in TEXTS])[:, :8]
    assert encoder.dim == 8
    assert np.abs(encoder.encode(TEXTS) - by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True)).max() < CLOSE


def test_a_folders_own_prompt_is_used_unless_another_is_named(tmp_path: Path) -> None:
    # Given a folder that names a prompt as its default
    folder = write_bert(tmp_path / "tiny", prompt="query : ")
    # When texts are embedded without a word of it, Then they have it, as in sentence-transformers
    own = open_encoder(permit(f"sentence-transformers:{folder}")).encode(TEXTS)
    assert np.abs(own - reference(folder, TEXTS)).max() < CLOSE
    # And with an empty prefix they have none
    bare = open_encoder(permit(f"sentence-transformers:{folder}?prefix=")).encode(TEXTS)
    assert np.abs(bare - own).max() > 0.01


def test_a_checkpoint_names_a_folder_by_what_is_in_it(folder: Path, tmp_path: Path) -> None:
    # Given the same folder in two places, and one of other weights
    copied = Path(shutil.copytree(folder, tmp_path / "tiny"))
    other = write_bert(tmp_path / "other" / "tiny", seed=1)
    # When they are named, Then the name is without a path, and the same for the same files
    names = [permit(f"sentence-transformers:{one}") for one in (folder, copied, other)]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("sentence-transformers:tiny?sha256=")
    # And a name with a hash is refused where the folder has other files
    with pytest.raises(InputError, match="it is another one"):
        permit(f"sentence-transformers:{other}?{names[0].partition('?')[2]}")


def test_a_folder_that_a_checkpoint_names_needs_the_operators_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a checkpoint's encoder: a folder of weights that nobody has named in this process
    folder = write_bert(tmp_path / "stranger", seed=2)
    monkeypatch.setenv("UNEMBED_ENCODERS", f"sentence-transformers:{folder}")
    from unembed.models.encoders.permission import permitted

    found = permitted_name(folder)
    assert why_not(found) is None
    assert permitted(found) is not None
    # When the operator's list is empty, Then it does not run
    monkeypatch.delenv("UNEMBED_ENCODERS")
    assert why_not(found) == "is not allowed here: list it in UNEMBED_ENCODERS"
    with pytest.raises(InputError, match="is not allowed here; expected UNEMBED_ENCODERS to list it"):
        open_encoder(found)


def permitted_name(folder: Path) -> str:
    """The folder's canonical SPEC, without a permit for it."""
    from unembed.models.encoders.folders import locate
    from unembed.models.encoders.spec import parse_spec

    return str(locate(parse_spec(f"sentence-transformers:{folder}")).spec)


def test_a_path_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder of a model here; expected one with"):
        permit(f"sentence-transformers:{tmp_path}/nothing")


def test_a_pickle_is_refused_even_where_sentence_transformers_would_load_it(folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "pickled"))
    (copied / "model.safetensors").unlink()
    torch.save({}, copied / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin is a pickle.*; expected model.safetensors beside"):
        open_encoder(permit(f"sentence-transformers:{copied}"))


def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    # Given a folder with a module of its own, which would leave a trace
    copied = Path(shutil.copytree(folder, tmp_path / "coded"))
    (copied / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    modules = json.loads((copied / "modules.json").read_text())
    modules[1]["type"] = "own.Pooling"
    (copied / "modules.json").write_text(json.dumps(modules))
    # When it is opened, Then it is refused, and the code has not run
    with pytest.raises(CheckpointError, match=r"has the module .own\.Pooling., which is code of its own"):
        open_encoder(permit(f"sentence-transformers:{copied}"))
    assert not (tmp_path / "ran").exists()


def test_a_damaged_folder_is_named(folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "damaged"))
    (copied / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged cannot be read as a model"):
        open_encoder(permit(f"sentence-transformers:{copied}"))
