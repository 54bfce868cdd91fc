"""Encoders of model2vec, of fastembed, and Python functions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from unembed.errors import CheckpointError, InputError, MissingExtraError
from unembed.models.encoders import registry
from unembed.models.encoders.permission import permit
from unembed.models.encoders.registry import open_encoder, shared_encoder, why_not

TEXTS = ["the sea is deep", "a ship", "nothing of this"]
CLOSE = 1e-6
_FASTEMBED = "fastembed is an extra of its own, and asks for an older huggingface-hub"


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder."""
    (tmp_path / "my_embedder.py").write_text(
        "import numpy as np\n"
        "def embed(texts):\n    return np.array([[len(one), 1.0, one.count('e')] for one in texts])\n"
        "def lists(texts):\n    return [[3.0, 4.0] for _ in texts]\n"
        "def fails(texts):\n    raise RuntimeError('no weights here')\n"
        "def short(texts):\n    return [[1.0, 2.0]]\n"
        "def broken(texts):\n    return [[float('nan')] for _ in texts]\n"
        "class Model:\n    embed = staticmethod(lists)\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_embedder", raising=False)
    return "my_embedder"


def test_a_function_of_ones_own_embeds(functions: str) -> None:
    encoder = open_encoder(permit(f"{functions}:embed"))
    lengths = np.array([[len(text), 1.0, text.count("e")] for text in TEXTS])
    assert np.abs(encoder.encode(TEXTS) - lengths / np.linalg.norm(lengths, axis=1, keepdims=True)).max() < CLOSE
    assert open_encoder(permit(f"{functions}:embed")).dim == 3
    assert encoder.encode([]).shape == (0, 3)
    assert open_encoder(permit(f"{functions}:Model.embed")).encode(TEXTS)[0].tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fails", "the function 'my_embedder:fails' failed: RuntimeError: no weights here"),
        ("short", r"made float64 of shape \(1, 2\) of 3 texts; expected floating-point vectors of shape \(3, D\)"),
        ("broken", "made vectors with NaN or infinity"),
        ("number", "'my_embedder:number' is int; expected a function"),
        ("missing", "cannot import 'my_embedder:missing': AttributeError"),
    ],
)
def test_a_function_that_does_not_do_is_named(functions: str, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_encoder(permit(f"{functions}:{name}")).encode(TEXTS)


def test_a_function_that_a_checkpoint_names_is_not_even_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a module that leaves a trace, and a checkpoint that names it
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    # When it is to be used, Then it is refused, and nothing has run
    assert why_not("stranger:embed") == "is not allowed here: list it in UNEMBED_ENCODERS"
    with pytest.raises(InputError, match="is not allowed here"):
        shared_encoder("stranger:embed")
    assert not (tmp_path / "ran").exists()


def test_the_operator_may_allow_a_function(functions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNEMBED_ENCODERS", f"openai:some-model, {functions}:lists")
    assert shared_encoder(f"{functions}:lists").dim == 2
    # A prefix and a dimension make no difference to what may run
    assert shared_encoder(f"{functions}:lists?dim=1&prefix=query: ").dim == 1
    monkeypatch.setenv("UNEMBED_ENCODERS", "openai:some-model?dims=3")
    assert "cannot run here: UNEMBED_ENCODERS: the encoder" in str(why_not("another:function"))
    with pytest.raises(InputError, match=r"UNEMBED_ENCODERS: the encoder .* has the option 'dims=3'"):
        shared_encoder("another:function")


def static_model(dim: int) -> Any:
    """A model of model2vec with a few words."""
    model2vec = pytest.importorskip("model2vec", reason="model2vec is an extra of its own")
    words = ["[PAD]", "[UNK]", "the", "sea", "is", "deep", "a", "ship"]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    vectors = np.random.default_rng(0).standard_normal((len(words), dim)).astype(np.float32)
    return model2vec.StaticModel(vectors, tokenizer, {"normalize": True})


def test_a_folder_of_model2vec_is_read(tmp_path: Path) -> None:
    # Given a folder that model2vec wrote
    model = static_model(8)
    model.save_pretrained(tmp_path / "words")
    # When texts are embedded by it
    encoder = open_encoder(permit(f"model2vec:{tmp_path / 'words'}"))
    found = encoder.encode(TEXTS[:2])
    # Then the vectors are model2vec's own, and the name has no path
    own = model.encode(TEXTS[:2])
    assert encoder.dim == 8
    assert np.abs(found - own / np.linalg.norm(own, axis=1, keepdims=True)).max() < CLOSE
    assert encoder.name.startswith("model2vec:words?sha256=")
    # And a damaged folder is named
    (tmp_path / "words" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="words cannot be read as a model of model2vec"):
        open_encoder(permit(f"model2vec:{tmp_path / 'words'}"))


def test_a_model_of_fastembed_is_read_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the cache of fastembed with a model that it knows, of words of our own
    pytest.importorskip("fastembed", reason=_FASTEMBED)
    model, commit = static_model(256), "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--minishlab--potion-base-8M"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    model.save_pretrained(folder / "snapshots" / commit)
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # When texts are embedded by it, Then the vectors are the model's
    encoder = open_encoder(permit("fastembed:minishlab/potion-base-8M"))
    own = model.encode(TEXTS[:2])
    assert encoder.dim == 256
    assert np.abs(encoder.encode(TEXTS[:2]) - own / np.linalg.norm(own, axis=1, keepdims=True)).max() < CLOSE


def test_fastembed_refuses_a_model_that_it_does_not_know() -> None:
    pytest.importorskip("fastembed", reason=_FASTEMBED)
    with pytest.raises(InputError, match=r"fastembed knows no model 'no/such'; there are: .*baai/bge-small-en-v1\.5"):
        open_encoder(permit("fastembed:no/such"))


@pytest.mark.parametrize(
    ("spec", "extra"),
    [
        ("fastembed:some/model", "fastembed"),
        ("model2vec:some/model?revision=main", "model2vec"),
        ("sentence-transformers:some/model?revision=main", "sentence-transformers"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, spec: str, extra: str) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'unembed\[{extra}\]'"):
        open_encoder(permit(spec))
