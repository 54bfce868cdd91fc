"""The other decoders that ship, on real vectors of their embedders: the first 100 example sentences.

The vectors were made with the packages that docs/encoders.md names, and are kept in half precision.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from unembed.models.decoder.catalog import SHIPPED, find
from unembed.models.decoder.create import create_generative_decoder
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.encoders.known import E5_SMALL, MPNET
from unembed.models.evaluation.scores import decode_all, score
from unembed.schemas import DEFAULT_DECODER, GREEDY, DecodeOptions

ROOT = Path(__file__).parents[3]
VECTORS = {"ret-v21-e5-small": "examples_e5_small.npy", "ret-v21-mpnet": "examples_mpnet.npy"}
EACH = pytest.mark.parametrize("name", VECTORS)


def vectors(name: str) -> npt.NDArray[np.float32]:
    return np.load(ROOT / "tests" / "data" / VECTORS[name], allow_pickle=False).astype(np.float32)


@cache
def texts() -> list[str]:
    column: list[str] = pq.read_table(ROOT / "examples" / "sentences.parquet")["text"].to_pylist()
    return column[:100]


@cache
def decoder(name: str) -> GenerativeDecoder:
    return GenerativeDecoder.load(name, "cpu", "float32")


def recorded(name: str) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((SHIPPED / name / "scores.json").read_text())["greedy_scores"]
    return scores


def word_f1(name: str, options: DecodeOptions, rows: npt.NDArray[np.float32]) -> float:
    decoded = decode_all(decoder(name), rows, options)
    return score([row.text or "" for row in decoded], texts(), 1.0).word_f1


@pytest.mark.parametrize(
    ("name", "dim", "encoder"), [("ret-v21-e5-small", 384, E5_SMALL), ("ret-v21-mpnet", 768, MPNET)]
)
def test_each_has_the_722_944_parameters_of_ret_v21(name: str, dim: int, encoder: str) -> None:
    entry = find(name)
    assert (entry.architecture, entry.embedding_dim, entry.encoder) == ("resource_efficient_v21", dim, encoder)
    assert decoder(name).parameters == 722_944


@EACH
def test_the_cards_show_the_recorded_scores(name: str) -> None:
    card = (SHIPPED / name / "README.md").read_text()
    for set_name, scores in recorded(name).items():
        assert f"| {set_name} | {scores['rows']:,} | {scores['bleu']:.1f} | {scores['chrf']:.1f} |" in card


@EACH
def test_on_sentences_of_this_project_it_is_as_good_as_on_its_literary_dev_set(name: str) -> None:
    assert word_f1(name, GREEDY, vectors(name)) >= recorded(name)["commonvoice_en"]["word_f1"]


@EACH
def test_its_sketch_and_edits_bring_back_more_of_each_text(name: str) -> None:
    greedy, default, edited = (
        word_f1(name, options, vectors(name)) for options in (GREEDY, DecodeOptions(), DecodeOptions(edits=2))
    )
    assert greedy < default < edited


@EACH
def test_what_it_writes_comes_from_the_vector(name: str) -> None:
    # Given the vectors of other rows, When they are decoded, Then hardly a word of a row's own text is there
    assert word_f1(name, GREEDY, np.roll(vectors(name), 1, axis=0)) < word_f1(name, GREEDY, vectors(name)) / 2


@EACH
def test_it_knows_its_vectors_from_noise_and_from_other_embedders(name: str) -> None:
    manifold = decoder(name).manifold
    assert manifold is not None
    assert manifold.off(vectors(name)).mean() <= 0.02
    shape = (500, len(manifold.mean))
    assert manifold.off(np.random.default_rng(0).normal(size=shape).astype(np.float32)).mean() >= 0.99


def test_vectors_of_e5_are_not_taken_for_those_of_minilm() -> None:
    default = decoder(DEFAULT_DECODER).manifold
    assert default is not None
    assert default.off(vectors("ret-v21-e5-small")).mean() >= 0.9


def test_of_two_decoders_of_one_dimension_the_default_is_taken() -> None:
    assert create_generative_decoder(embedding_dim=384).name == DEFAULT_DECODER
