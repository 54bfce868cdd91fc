"""The phrase bank: the nearest of known phrases, exactly, or none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.builders import decode_rows
from tests.models.decoder.toy import DIM, TEXTS, random_checkpoint, vectors
from unembed.errors import CheckpointError, DimensionError, InputError
from unembed.models.decoder import catalog, phrase_bank
from unembed.models.decoder.create import create_generative_decoder, load_decoder
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.phrase_bank import Bank, PhraseBankDecoder
from unembed.schemas import DecodeOptions, RowStatus


def toy_bank(threshold: float = 0.0) -> Bank:
    return Bank.of(TEXTS, vectors(), name="phrases", threshold=threshold)


@pytest.fixture
def decoder() -> PhraseBankDecoder:
    return PhraseBankDecoder(toy_bank(), device="cpu")


@pytest.mark.parametrize("block", [5, 65_536])
def test_the_search_in_blocks_finds_what_a_plain_sort_finds(
    decoder: PhraseBankDecoder, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    # Given vectors that are no phrase's, of any length
    monkeypatch.setattr(phrase_bank, "BLOCK", block)
    queries = vectors(20, seed=9) * 7.0
    # When their four nearest are looked up
    cosines, places = decoder.nearest(queries, 4)
    # Then they are those of all cosines, sorted
    plain = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ toy_bank().vectors.astype(np.float32).T
    np.testing.assert_array_equal(places, np.argsort(-plain, axis=1, kind="stable")[:, :4])
    np.testing.assert_allclose(cosines, -np.sort(-plain, axis=1)[:, :4], atol=1e-5)


def test_each_phrase_is_found_by_its_own_vector(decoder: PhraseBankDecoder) -> None:
    answers = decoder.batch_generate(vectors())
    assert [answer["text"] for answer in answers] == TEXTS
    assert all(answer["round_trip"] == pytest.approx(1.0, abs=1e-3) for answer in answers)
    assert {answer["source"] for answer in answers} == {"phrases"}


def test_a_row_finds_the_same_alone_and_among_others(decoder: PhraseBankDecoder) -> None:
    queries = vectors(9, seed=5)
    together = [row.text for row in decode_rows(decoder, queries, range(9), DecodeOptions(), 0)]
    assert together == [decoder.decode(query) for query in queries]


def test_of_phrases_that_are_equally_near_the_earlier_answers() -> None:
    # Given two spellings that an embedder cannot tell apart
    same = np.repeat(vectors(1), 2, axis=0)
    decoder = PhraseBankDecoder(Bank.of(["the sea", "The sea"], same, name="two"), device="cpu")
    # When their vector is decoded, Then the first is the answer, and both are candidates
    answer = decoder.generate(vectors(1)[0], candidates=2, n_best=2)
    assert [candidate["text"] for candidate in answer["candidates"]] == ["the sea", "The sea"]


def test_a_vector_that_is_near_no_phrase_is_an_error_row_and_never_a_text() -> None:
    # Given a bank that answers from a cosine of 0.9
    decoder = PhraseBankDecoder(toy_bank(threshold=0.9), device="cpu")
    # When a phrase's vector and a stranger are decoded
    known, stranger = decode_rows(decoder, np.stack([vectors()[3], -vectors()[3]]), [7, 8], DecodeOptions(), 0)
    # Then the first has its phrase, and the second says why it has none
    assert (known.status, known.text, known.index) == (RowStatus.OK, TEXTS[3], 7)
    assert (stranger.status, stranger.text, stranger.error_code) == (RowStatus.ERROR, None, "no_phrase")
    assert "expected 0.900 or more" in str(stranger.error)
    with pytest.raises(InputError, match="phrases has no text for this embedding: the nearest of 36 known phrases"):
        decoder.decode(-vectors()[3])


def test_a_bank_is_saved_and_loaded_whole_and_named_like_any_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a bank in a folder of decoders
    toy_bank(threshold=0.25).save(tmp_path / "phrases")
    monkeypatch.setenv("UNEMBED_DECODERS", str(tmp_path))
    # When the catalogue and a worker look for its name
    entry = catalog.find("phrases")
    loaded = load_decoder("phrases", "cpu")
    # Then it is there, with its dimension, its phrases and its threshold
    assert (entry.architecture, entry.embedding_dim) == ("phrase_bank", DIM)
    assert isinstance(loaded, PhraseBankDecoder)
    assert loaded.threshold == 0.25
    assert loaded.bank.phrases == tuple(TEXTS)
    assert [row["text"] for row in loaded.batch_generate(vectors())] == TEXTS
    assert create_generative_decoder("phrase_bank", DIM, checkpoint="phrases").decode(vectors()[0]) == TEXTS[0]


def test_equal_texts_are_kept_once_the_first_vector_counts() -> None:
    bank = Bank.of(["a", "b", "a"], vectors(3), name="n")
    assert bank.phrases == ("a", "b")
    np.testing.assert_allclose(bank.vectors, vectors(3)[:2], atol=1e-3)


@pytest.mark.parametrize(
    ("texts", "embeddings", "says"),
    [
        (["a"], vectors(2), r"1 phrases need embeddings of shape \(1, dim\), not \(2, 16\)"),
        ([], vectors(0), "at least one phrase"),
        (["a", " "], vectors(2), "phrase 1 is ' '; expected a text"),
        (["a"], np.zeros((1, 4), np.float32), "row 0 is a zero vector"),
    ],
)
def test_what_makes_no_bank_is_refused(texts: list[str], embeddings: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Bank.of(texts, embeddings, name="n")


def test_damaged_banks_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "phrases"
    toy_bank().save(folder)
    phrases = json.loads((folder / "phrases.json").read_text())
    (folder / "phrases.json").write_text(json.dumps(phrases[:-1]))
    with pytest.raises(CheckpointError, match=r"36 phrases in 16 dimensions, but there are 35 phrases"):
        Bank.load(folder)
    (folder / "phrases.json").write_text('{"a": 1}')
    with pytest.raises(CheckpointError, match="not a list of texts"):
        Bank.load(folder)
    (folder / "vectors.safetensors").write_bytes(b"cbuiltins\nprint\n.")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Bank.load(folder)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    toy_bank().save(tmp_path / "phrases")
    random_checkpoint(tmp_path / "toy")
    with pytest.raises(CheckpointError, match="holds a phrase_bank; expected a network"):
        GenerativeDecoder.load(tmp_path / "phrases")
    with pytest.raises(CheckpointError, match="holds a resource_efficient_v21; expected a phrase_bank"):
        Bank.load(tmp_path / "toy")
    with pytest.raises(InputError, match="none ships; expected a checkpoint's name or folder"):
        create_generative_decoder("phrase_bank", DIM)
    with pytest.raises(DimensionError, match="have 99 dimensions"):
        create_generative_decoder("phrase_bank", 99, checkpoint=f"{tmp_path}/phrases")


def test_a_threshold_that_is_no_cosine_is_refused() -> None:
    with pytest.raises(InputError, match=r"the threshold is 1\.5; expected a cosine"):
        PhraseBankDecoder(toy_bank(), device="cpu", threshold=1.5)


def test_a_tensor_is_as_good_as_an_array(decoder: PhraseBankDecoder) -> None:
    assert decoder.decode(torch.from_numpy(vectors()[4])) == TEXTS[4]
