"""Search in rounds: what is decoded again, and that the budget of texts to embed stays what it was."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.models.decoder.toy import DIM, random_checkpoint, vectors
from unembed.errors import InputError
from unembed.models.decoder import rank, rounds
from unembed.models.decoder.beam import beam_search
from unembed.models.decoder.device import choose
from unembed.models.decoder.encoder import cosines
from unembed.models.decoder.engine import piece_log_probs
from unembed.models.decoder.engines import TorchEngine
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.rank import Ranked
from unembed.models.decoder.rounds import STEP, Searcher, moved_on, shares
from unembed.schemas import DecodeOptions

BEAMS = DecodeOptions(candidates=6, beams=8, rounds=2)
SAMPLES = DecodeOptions(candidates=6, temperature=1.0, rounds=3)


class ByText:
    """An encoder that gives each text a direction of its own, and remembers which texts it was given."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.seen += texts
        return np.concatenate([vectors(1, seed=crc32(text.encode())) for text in texts])


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> ByText:
    made = ByText()
    monkeypatch.setattr(rank, "shared_encoder", lambda name, precision: made)
    monkeypatch.setattr(rank, "is_installed", lambda name: True)
    monkeypatch.setattr(GenerativeDecoder, "encoder", property(lambda self: "toy"))
    return made


@pytest.fixture
def decoder(tmp_path: Path) -> GenerativeDecoder:
    return GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")


def texts_of(decoder: GenerativeDecoder, count: int, options: DecodeOptions, seed: int = 0) -> list[set[str]]:
    decoded = decoder.decode_batch(vectors(count), np.arange(count), options, seed)
    return [set(row) for row in listed(decoded.ranked)]


def listed(ranked: Ranked) -> list[list[str]]:
    """The candidates' texts of each row, the best first."""
    return [[one.text for one in ranked.listed(row, "toy")] for row in range(len(ranked.firsts))]


def test_two_rounds_give_what_two_searches_by_hand_give(decoder: GenerativeDecoder, encoder: ByText) -> None:
    # Given one vector, decoded by hand: three of eight beams, the nearest of them, and three more for what it lacks
    checkpoint, given = decoder.checkpoint, vectors(1)

    def beams(embedding: np.ndarray) -> list[str]:
        found = beam_search(checkpoint.network, torch.from_numpy(embedding), BEAMS, 32)
        return list(dict.fromkeys(checkpoint.tokenizer.decode(ids) for ids in found.ids.tolist()))

    first = beams(given)[:3]
    embedded = encoder.encode(first)
    nearest = embedded[[int(cosines(embedded, given.repeat(len(first), axis=0)).argmax())]]
    second = [text for text in beams(given + np.float32(STEP) * (given - nearest)) if text not in first][:3]
    # When it is decoded in two rounds, Then the candidates are the same
    assert len(second) == 3
    assert texts_of(decoder, 1, BEAMS) == [{*first, *second}]


@pytest.mark.parametrize("options", [BEAMS, SAMPLES], ids=["beams", "samples"])
def test_no_more_texts_are_embedded_than_there_are_candidates(
    decoder: GenerativeDecoder, encoder: ByText, options: DecodeOptions
) -> None:
    # When rows are decoded in rounds
    found = texts_of(decoder, 9, options)
    # Then each different text was embedded once, and no row has more of them than candidates
    assert sorted(encoder.seen) == sorted(set.union(*found))
    assert all(1 <= len(row) <= options.candidates for row in found)


@pytest.mark.parametrize("options", [BEAMS, SAMPLES], ids=["beams", "samples"])
def test_texts_in_rounds_do_not_depend_on_the_batch(
    decoder: GenerativeDecoder, encoder: ByText, options: DecodeOptions
) -> None:
    whole = decoder.decode_batch(vectors(9), np.arange(9), options, 3)
    parts = [
        row
        for part in (slice(4), slice(4, 9))
        for row in listed(decoder.decode_batch(vectors(9)[part], np.arange(9)[part], options, 3).ranked)
    ]
    assert listed(whole.ranked) == parts
    assert list(whole.texts) == [row[0] for row in parts]


def test_samples_of_later_rounds_are_drawn_as_those_of_one(
    decoder: GenerativeDecoder, encoder: ByText, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given rounds that do not move the vector, When samples are drawn in three of them, Then they are those of one
    monkeypatch.setattr(rounds, "STEP", 0.0)
    assert texts_of(decoder, 5, SAMPLES) == texts_of(decoder, 5, SAMPLES.model_copy(update={"rounds": 1}))


def test_a_later_round_never_loses_what_an_earlier_one_found(decoder: GenerativeDecoder, encoder: ByText) -> None:
    # Given the first round alone
    first = decoder.decode_batch(vectors(9), np.arange(9), DecodeOptions(candidates=3, beams=8), 0)
    # When a second one follows, Then its candidates are still there, and the best is at least as near
    second = decoder.decode_batch(vectors(9), np.arange(9), BEAMS, 0)
    for row in range(9):
        one, two = (decoded.ranked.listed(row, "toy") for decoded in (first, second))
        assert {candidate.text for candidate in one} <= {candidate.text for candidate in two}
        assert two[0].score >= one[0].score


def test_every_text_is_judged_by_the_given_vector(decoder: GenerativeDecoder, encoder: ByText) -> None:
    # Given rows that were searched in two rounds, the second with a vector that was moved
    checkpoint, cpu = decoder.checkpoint, choose("cpu", "float32")
    searcher = Searcher(checkpoint, TorchEngine(checkpoint.network, cpu, "it is the reference"), decoder.encoder)
    alone = searcher.search(vectors(30), np.arange(30), DecodeOptions(candidates=3, beams=8), 0).ranked
    found = searcher.search(vectors(30), np.arange(30), BEAMS, 0).ranked.best
    later = np.array([row for row, texts in enumerate(listed(alone)) if found.texts[row] not in texts])
    assert len(later) > 5
    # When the log-probabilities of their best texts are computed from the given vectors, Then they are those reported
    best = found.take(later)
    log_probs = piece_log_probs(checkpoint.network, torch.from_numpy(vectors(30)[later]), best.pieces)
    assert best.log_prob.tolist() == pytest.approx(log_probs.sum(dim=1).tolist(), abs=1e-3)
    assert best.least_log_prob.tolist() == pytest.approx(log_probs.min(dim=1).values.tolist(), abs=1e-4)


def test_the_vector_moves_by_what_the_nearest_text_lacks_whatever_its_length() -> None:
    given, nearest = torch.tensor([[0.0, 5.0]]), torch.tensor([[3.0, 0.0]])
    torch.testing.assert_close(moved_on(given, nearest), torch.tensor([[-STEP, 1.0 + STEP]]))


@pytest.mark.parametrize(
    ("candidates", "count", "sizes"), [(32, 2, [16, 16]), (8, 3, [3, 3, 2]), (4, 4, [1, 1, 1, 1]), (5, 1, [5])]
)
def test_the_rounds_share_the_candidates_evenly(candidates: int, count: int, sizes: list[int]) -> None:
    found = shares(candidates, count)
    assert [len(one) for one in found] == sizes
    assert [number for one in found for number in one] == list(range(candidates))


def test_rounds_without_an_encoder_are_refused(decoder: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a decoder that names no encoder, and one whose encoder is not installed
    for encoder, why in ((None, "the decoder 'toy' names none"), ("far", "its encoder 'far' is not installed here")):
        monkeypatch.setattr(GenerativeDecoder, "encoder", property(lambda self, name=encoder: name))
        # When rounds are asked for, Then the error says what is missing
        with pytest.raises(InputError, match=f"rounds is 2, which needs the encoder between two rounds, but {why}"):
            decoder.decode(vectors(1, DIM)[0], candidates=8, rounds=2)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"rounds": 0}, "greater than or equal to 1"),
        ({"rounds": 5}, "less than or equal to 4"),
        ({"rounds": 2}, "rounds is 2 with 1 candidates, so some would have none"),
        ({"rounds": 2, "candidates": 8, "rank_by": "decoder"}, "rounds is 2 with rank_by 'decoder'"),
    ],
)
def test_rounds_that_cannot_be_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DecodeOptions.model_validate(values)
