"""The second decoder that ships: 768 dimensions, the mean and the maximum of MiniLM's token states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from unembed.models.decoder.catalog import SHIPPED, find
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.encoders.known import MINILM_MEAN_MAX
from unembed.models.encoders.registry import shared_encoder
from unembed.models.evaluation.scores import decode_all, score
from unembed.schemas import DEFAULT_DECODER, GREEDY

NAME = "ret-v21-minilm-mean-max"
EXAMPLES = Path(__file__).parents[3] / "examples" / "sentences.parquet"


def recorded(name: str) -> dict[str, Any]:
    return json.loads((SHIPPED / name / "scores.json").read_text())["scores"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def examples() -> tuple[list[str], np.ndarray]:
    texts = pq.read_table(EXAMPLES)["text"].to_pylist()[:200]
    return texts, shared_encoder(MINILM_MEAN_MAX).encode(texts)


def test_it_has_the_722_944_parameters_of_ret_v21() -> None:
    entry = find(NAME)
    assert (entry.architecture, entry.embedding_dim, entry.encoder) == ("resource_efficient_v21", 768, MINILM_MEAN_MAX)
    assert GenerativeDecoder.load(NAME, device="cpu").parameters == 722_944


def test_its_card_says_what_its_vectors_are_and_shows_the_recorded_scores() -> None:
    card = (SHIPPED / NAME / "README.md").read_text()
    assert "mean" in card
    assert "maximum" in card
    for name, scores in recorded(NAME).items():
        assert f"| {name} | {scores['rows']:,} | {scores['bleu']:.1f} | {scores['chrf']:.1f} |" in card


def test_twice_the_dimensions_make_it_better_than_the_first_by_words() -> None:
    ours, theirs = recorded(NAME), recorded(DEFAULT_DECODER)
    for name in ("tatoeba_en", "commonvoice_en"):
        assert ours[name]["word_f1"] > theirs[name]["word_f1"]


def test_on_sentences_of_this_project_it_is_as_good_as_on_its_literary_dev_set(
    examples: tuple[list[str], np.ndarray],
) -> None:
    texts, vectors = examples
    decoded = decode_all(GenerativeDecoder.load(NAME, "cpu", "float32"), vectors, GREEDY)
    assert score([row.text or "" for row in decoded], texts, 1.0).word_f1 >= recorded(NAME)["commonvoice_en"]["word_f1"]


def test_it_knows_its_vectors_from_noise(examples: tuple[list[str], np.ndarray]) -> None:
    manifold = GenerativeDecoder.load(NAME, device="cpu").manifold
    assert manifold is not None
    assert manifold.off(examples[1]).mean() <= 0.02
    assert manifold.off(np.random.default_rng(0).normal(size=(500, 768)).astype(np.float32)).mean() >= 0.99
