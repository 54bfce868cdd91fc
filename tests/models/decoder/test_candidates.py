"""Several decodings of a row, of which the best is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.models.decoder.toy import DIM, random_checkpoint, vectors
from unembed.errors import InputError
from unembed.models.decoder import rank, search
from unembed.models.decoder.candidates import Candidates, read
from unembed.models.decoder.engine import Generated, generate
from unembed.models.decoder.generative import GenerativeDecoder, Scored
from unembed.models.decoder.rank import Embedded, by_decoder, nearest_of_best
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import PAD
from unembed.models.encoders.known import MINILM
from unembed.models.encoders.registry import shared_encoder
from unembed.schemas import DecodeOptions

SAMPLED = DecodeOptions(candidates=6, temperature=1.0)
MIXED = DecodeOptions(candidates=6, beams=3, temperature=1.0)


def listed(decoded: Scored) -> list[list[str]]:
    """The candidates' texts of each row, the best first."""
    return [[one.text for one in decoded.ranked.listed(row, "toy")] for row in range(len(decoded.texts))]


@pytest.fixture
def decoder(tmp_path: Path) -> GenerativeDecoder:
    return GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")


@pytest.mark.parametrize("options", [SAMPLED, MIXED], ids=["samples", "beams and samples"])
def test_texts_do_not_depend_on_how_the_batch_is_cut(decoder: GenerativeDecoder, options: DecodeOptions) -> None:
    whole = decoder.decode_batch(vectors(9), np.arange(9), options, 3)
    parts = [decoder.decode_batch(vectors(9)[part], np.arange(9)[part], options, 3) for part in (slice(4), slice(4, 9))]
    assert listed(whole) == [row for part in parts for row in listed(part)]
    assert listed(whole)[0] != listed(decoder.decode_batch(vectors(1), np.arange(1), options, 4))[0]


def test_texts_do_not_depend_on_how_many_fit_in_the_loop(
    decoder: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decoder.decode_batch(vectors(9), np.arange(9), MIXED, 3).texts
    monkeypatch.setitem(search.AT_ONCE, "cpu", 7)
    assert decoder.decode_batch(vectors(9), np.arange(9), MIXED, 3).texts == whole


def test_the_first_sample_is_what_a_row_draws_alone(decoder: GenerativeDecoder) -> None:
    alone = decoder.decode_batch(vectors(5), np.arange(5), DecodeOptions(candidates=1, temperature=1.0), 3)
    several = decoder.decode_batch(vectors(5), np.arange(5), SAMPLED, 3)
    for one, many in zip(alone.texts, listed(several), strict=True):
        assert one in many


def test_the_likeliest_is_kept_and_the_others_come_after_it(decoder: GenerativeDecoder) -> None:
    decoded = decoder.decode_batch(vectors(9), np.arange(9), MIXED, 3)
    for row in range(9):
        candidates = decoded.ranked.listed(row, "toy")
        scores = [candidate.score for candidate in candidates]
        assert scores == sorted(scores, reverse=True)
        assert decoded.texts[row] == candidates[0].text
        assert decoded.evidence.log_prob[row] == pytest.approx(scores[0])
        assert len({candidate.text for candidate in candidates}) == len(scores)


def test_beams_alone_are_ranked_as_the_search_ranks_them(decoder: GenerativeDecoder) -> None:
    # Given a beam search with one candidate, and with as many as it has beams
    top = decoder.decode_batch(vectors(9), np.arange(9), DecodeOptions(candidates=1, beams=4), 0)
    every = decoder.decode_batch(vectors(9), np.arange(9), DecodeOptions(candidates=4, beams=4, rank_by="decoder"), 0)
    # Then both keep the same text
    assert top.texts == every.texts
    assert {len(row) for row in listed(top)} == {1}


def test_n_best_lists_the_candidates(decoder: GenerativeDecoder) -> None:
    answer = decoder.generate(vectors(1)[0], n_best=3, candidates=6, temperature=1.0)
    assert len(answer["candidates"]) == 3
    assert answer["candidates"][0]["text"] == answer["text"]
    assert answer["candidates"][0]["source"] == "toy"
    with pytest.raises(InputError, match="n_best is 0"):
        decoder.generate(vectors(1)[0], n_best=0)


def found(*drafts: tuple[str, float, int]) -> Candidates:
    """The candidates of one row: texts, the sums of their pieces' log-probabilities, and how many pieces they have."""
    longest = max(pieces for _, _, pieces in drafts)
    ids = torch.tensor([[5] * pieces + [PAD] * (longest - pieces) for _, _, pieces in drafts])
    log_probs = torch.tensor([[total] + [0.0] * (longest - 1) for _, total, _ in drafts])
    lengths = torch.tensor([pieces for _, _, pieces in drafts])
    texts = tuple(text for text, _, _ in drafts)
    return Candidates(np.zeros(len(drafts), np.int64), Generated(ids, log_probs, lengths), texts)


class ThreeTexts:
    """An encoder that folds case and, as a real one, differs in the last bits from text to text."""

    def encode(self, texts: list[str]) -> np.ndarray:
        known = {"far": [0.0, 1.0], "near": [1.0, 0.1]}
        noise = np.arange(len(texts))[:, None] * 1e-8
        return np.array([known[text.lower()] for text in texts], dtype=np.float32) + noise.astype(np.float32)


def test_the_nearest_is_kept_and_of_two_that_are_equally_near_the_likelier(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a likely text that is far, and two spellings of a near one
    monkeypatch.setattr(rank, "shared_encoder", lambda name, precision: ThreeTexts())
    row = [("far", -1.0, 1), ("NEAR", -9.0, 1), ("near", -3.0, 1)]
    for drafts in (row, row[::-1]):
        # When the encoder chooses among them
        likeliest, given = by_decoder(found(*drafts), DecodeOptions()), np.array([[1.0, 0.0]], np.float32)
        ranked = nearest_of_best(likeliest, given, Embedded("toy"), DecodeOptions(embed=3))
        # Then the likelier spelling of the near one comes first, with its cosine
        assert ranked.best.texts == ("near",)
        assert ranked.candidates.texts == ("near", "NEAR", "far")
        assert ranked.listed(0, "d")[0].round_trip == pytest.approx(1 / np.sqrt(1.01), abs=1e-5)


def test_the_length_penalty_decides_between_long_and_short() -> None:
    row = found(("short", -2.0, 2), ("long", -6.0, 8))
    kept = [by_decoder(row, DecodeOptions(length_penalty=p)).best.texts for p in (0.0, 1.0)]
    assert kept == [("short",), ("long",)]


def test_a_rows_candidates_are_chosen_as_one_by_one(decoder: GenerativeDecoder) -> None:
    # Given the pieces of 12 rows of 6 samples, some of them alike, and what is known of two rows
    network, tokenizer = decoder.checkpoint.network, decoder.checkpoint.tokenizer
    sampler = Sampler(DecodeOptions(temperature=0.5), 3)
    keys = sampler.keys(torch.arange(12).repeat_interleave(6), torch.arange(6).repeat(12))
    generated = generate(network, torch.from_numpy(vectors(12)).repeat_interleave(6, dim=0), sampler, keys, 5)
    texts = [tokenizer.decode(ids) for ids in generated.ids.tolist()]
    known = [frozenset({texts[6 * row]}) if row in (2, 7) else frozenset[str]() for row in range(12)]
    # When they are read as columns
    columns = read(generated, tokenizer, 0, each=6, most=4, known=known)
    # Then each row has what a plain loop finds: the first four different texts that are not known
    for row in range(12):
        plain: list[str] = []
        for text in texts[6 * row : 6 * row + 6]:
            if text not in plain and text not in known[row] and len(plain) < 4:
                plain.append(text)
        assert [columns.texts[place] for place in np.flatnonzero(columns.row == row)] == plain
    # And each text has kept its own pieces
    assert [tokenizer.decode(ids) for ids in columns.pieces.ids.tolist()] == list(columns.texts)


def test_auto_ranks_by_the_sketch_where_there_is_one() -> None:
    assert rank.ranking(DecodeOptions(), sketched=True) == "sketch"
    assert rank.ranking(DecodeOptions(), sketched=False) == "decoder"
    assert rank.ranking(DecodeOptions(rank_by="decoder", edits=1), sketched=True) == "decoder"


def test_the_shipped_decoder_keeps_the_candidate_that_is_nearest_when_embedded_again() -> None:
    # Given a sentence, embedded
    decoder = GenerativeDecoder.load("ret-v21-minilm", "cpu", "float32")
    given = shared_encoder(MINILM).encode(["The children are playing in the garden."])
    # When it is decoded greedily, and from eight candidates that are all embedded again
    greedy = decoder.generate(given[0], candidates=1, round_trip=True)
    best = decoder.generate(given[0], candidates=8, embed=8, n_best=8)
    # Then the eight come by their cosine, and the best is nearer than the greedy text
    cosines = [candidate["round_trip"] for candidate in best["candidates"]]
    assert cosines == sorted(cosines, reverse=True)
    assert best["round_trip"] == cosines[0]
    assert best["round_trip"] >= greedy["round_trip"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"candidates": 0}, "greater than or equal to 1"),
        ({"candidates": 65}, "less than or equal to 64"),
        ({"beams": 65}, "less than or equal to 64"),
        ({"min_p": 1.5}, "less than or equal to 1"),
        ({"length_penalty": -1.0}, "greater than or equal to 0"),
        ({"embed": -1}, "greater than or equal to 0"),
        ({"embed": 65}, "less than or equal to 64"),
        ({"edits": -1}, "greater than or equal to 0"),
        ({"edits": 9}, "less than or equal to 8"),
        ({"rank_by": "luck"}, "'auto', 'sketch' or 'decoder'"),
        ({"candidates": 8, "beams": 4}, "candidates is 8 with beams 4 at temperature 0"),
        ({"beams": 4}, "candidates is 5 with beams 4 at temperature 0"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DecodeOptions.model_validate(values)


@pytest.mark.parametrize(
    ("values", "width"),
    [
        ({}, 5),
        ({"candidates": 1}, 1),
        ({"candidates": 32}, 32),
        ({"candidates": 64}, 64),
        ({"candidates": 8, "temperature": 0.5}, 1),
        ({"candidates": 8, "temperature": 0.5, "beams": 4}, 4),
        ({"beams": 32}, 32),
        ({"candidates": 1, "beams": 4}, 4),
    ],
)
def test_candidates_come_from_beams_unless_they_are_sampled(values: dict[str, float], width: int) -> None:
    assert DecodeOptions.model_validate(values).width == width


def test_dimensions_are_still_checked(decoder: GenerativeDecoder) -> None:
    with pytest.raises(InputError, match=f"expects {DIM}"):
        decoder.batch_generate(np.ones((2, DIM + 1), np.float32), candidates=2)
