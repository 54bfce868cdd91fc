"""The search with a sketch: ranking, rounds of edits, and the encoder as a referee."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.decoder.toy import TEXTS, embed_with, sketch_of_words, sketched_checkpoint
from unembed.errors import InputError
from unembed.models.decoder.editing import BREADTH
from unembed.models.decoder.edits import Breadth, Edits
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.plain_edits import PlainEditor
from unembed.models.decoder.pool import INVENTED, NEARNESS
from unembed.models.decoder.rank import Ranked
from unembed.models.decoder.rounds import OFFERED, QUICK, WIDE
from unembed.models.decoder.sketch import UNKNOWN
from unembed.models.decoder.vectors import Vectors
from unembed.models.decoder.words import surfaces
from unembed.schemas import DecodeOptions

SKETCH = sketch_of_words()
GIVEN = SKETCH.vectors(TEXTS[:6])
SKETCHED = DecodeOptions(candidates=4, edits=0)


class Exact:
    """An encoder whose embeddings are the sketches, but for an error that is the same for all; it counts its texts."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: list[str]) -> Vectors:
        self.seen += texts
        off = SKETCH.vectors(texts) + 0.2 * SKETCH.vectors(["We"])
        return np.asarray(off / np.linalg.norm(off, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def decoder(tmp_path: Path) -> GenerativeDecoder:
    return GenerativeDecoder.load(sketched_checkpoint(tmp_path / "toy"), device="cpu", precision="float32")


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Exact:
    made = Exact()
    embed_with(monkeypatch, made)
    return made


def ranked(decoder: GenerativeDecoder, options: DecodeOptions, given: Vectors = GIVEN) -> Ranked:
    return decoder.decode_batch(given, np.arange(len(given)), options, 3).ranked


def with_edits(rounds: int, **others: int) -> DecodeOptions:
    return SKETCHED.model_copy(update={"edits": rounds, **others})


def nearness(found: Ranked) -> float:
    return float(SKETCH.nearness(found.best.texts, SKETCH.queries(GIVEN)).mean())


def test_candidates_are_ranked_by_their_likelihood_and_their_sketch(decoder: GenerativeDecoder) -> None:
    # When rows are decoded without edits
    found = ranked(decoder, SKETCHED)
    # Then a candidate's score is its mean log p and so much of its sketch's cosine with the row's vector, less what
    # the words cost that the sketch does not know
    candidates = found.candidates
    near = SKETCH.nearness(candidates.texts, SKETCH.queries(GIVEN)[candidates.row])
    invented = np.array([sum(SKETCH.ids[word] == UNKNOWN for word in surfaces(text)) for text in candidates.texts])
    assert len(set(invented.tolist())) > 1
    expected = candidates.log_prob / candidates.lengths + NEARNESS * near - INVENTED * invented
    np.testing.assert_allclose(found.scores, expected, atol=1e-4)
    # And of each row the highest comes first
    for row in range(len(GIVEN)):
        scores = found.scores[candidates.row == row]
        assert (np.diff(scores) <= 0).all()


def test_each_round_of_edits_comes_nearer(decoder: GenerativeDecoder) -> None:
    # Given an untrained network, whose texts are about nothing, When the best of them are edited
    by_round = [nearness(ranked(decoder, with_edits(rounds))) for rounds in range(4)]
    # Then each round is nearer than the one before
    assert np.diff(by_round).min() > 0.0
    assert by_round[3] > by_round[0] + 0.2


@pytest.fixture
def asked(decoder: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Breadth]]:
    """Of how many texts the decoder's editor is asked for edits, and how widely it is to look."""
    found: list[tuple[int, Breadth]] = []

    class Counting(PlainEditor):
        def edits(self, texts: Sequence[Sequence[int]], queries: Vectors, breadth: Breadth) -> Edits:
            found.append((len(texts), breadth))
            return super().edits(texts, queries, breadth)

    monkeypatch.setattr(decoder, "_editor", Counting(SKETCH))
    return found


@pytest.mark.parametrize(("candidates", "most"), [(1, 1), (3, 1), (4, 2), (8, 4), (16, 4)])
def test_half_of_the_candidates_are_edited_and_four_at_most(
    decoder: GenerativeDecoder, asked: list[tuple[int, Breadth]], candidates: int, most: int
) -> None:
    # When one row is decoded with a round of edits
    ranked(decoder, with_edits(1, candidates=candidates), GIVEN[:1])
    # Then so many texts were edited
    assert [count for count, _ in asked] == [most]


@pytest.mark.parametrize(
    ("chosen", "rounds"),
    [
        ({}, [QUICK]),
        ({"temperature": 1.0}, [QUICK]),
        ({"candidates": 1}, []),
        ({"candidates": 1, "edits": 1}, [QUICK]),
        ({"edits": 0}, []),
        ({"rank_by": "decoder"}, []),
    ],
    ids=str,
)
def test_candidates_are_edited_once_and_quickly_unless_it_is_asked_for_otherwise(
    decoder: GenerativeDecoder, asked: list[tuple[int, Breadth]], chosen: dict[str, Any], rounds: list[Breadth]
) -> None:
    # When one row is decoded with these options
    ranked(decoder, DecodeOptions(**chosen), GIVEN[:1])
    # Then edits were looked for so many times, and so widely
    assert [breadth for _, breadth in asked] == rounds


def test_several_rounds_are_not_quick(decoder: GenerativeDecoder, asked: list[tuple[int, Breadth]]) -> None:
    ranked(decoder, with_edits(2))
    assert {breadth for _, breadth in asked} == {BREADTH}


def test_for_the_encoder_more_is_looked_for(
    decoder: GenerativeDecoder, asked: list[tuple[int, Breadth]], encoder: Exact
) -> None:
    ranked(decoder, DecodeOptions(embed=4), GIVEN[:1])
    assert {breadth for _, breadth in asked} == {WIDE, OFFERED}


def test_no_row_has_a_text_twice(decoder: GenerativeDecoder, encoder: Exact) -> None:
    for options in (with_edits(3), with_edits(2, embed=6)):
        candidates = ranked(decoder, options).candidates
        pairs = list(zip(candidates.row.tolist(), candidates.texts, strict=True))
        assert len(set(pairs)) == len(pairs)
        # And each text is what its pieces read as
        assert decoder.checkpoint.tokenizer.decode_many(candidates.pieces.ids.tolist()) == list(candidates.texts)


@pytest.mark.parametrize("others", [{}, {"embed": 6}], ids=["alone", "with the encoder"])
def test_a_row_s_text_depends_on_no_other_row(
    decoder: GenerativeDecoder, encoder: Exact, others: dict[str, int]
) -> None:
    options = with_edits(2, **others)
    together = ranked(decoder, options).best.texts
    alone = tuple(ranked(decoder, options, GIVEN[[row]]).best.texts[0] for row in range(len(GIVEN)))
    assert together == alone


def test_with_the_plain_editor_each_round_comes_nearer_too(
    decoder: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the editor that is there where the compiled one is missing. Its texts need not be the same: many edits of
    # what an untrained network writes are equally good, and the network reads a few of them
    monkeypatch.setattr(decoder, "_editor", PlainEditor(SKETCH))
    # When texts are edited, Then each round is nearer than the one before
    by_round = [nearness(ranked(decoder, with_edits(rounds))) for rounds in range(4)]
    assert np.diff(by_round).min() > 0.0
    assert by_round[3] > by_round[0] + 0.2


def test_the_encoder_is_asked_no_more_often_than_was_allowed(decoder: GenerativeDecoder, encoder: Exact) -> None:
    # When up to six texts of one row may be embedded
    found = ranked(decoder, with_edits(1, embed=6), GIVEN[:1])
    # Then six different ones were, and no other has a cosine
    assert len(encoder.seen) == len(set(encoder.seen)) == 6
    assert found.round_trips is not None
    assert np.isfinite(found.round_trips).sum() == 6


def test_of_the_embedded_texts_the_nearest_comes_first(decoder: GenerativeDecoder, encoder: Exact) -> None:
    found = ranked(decoder, with_edits(1, embed=6))
    assert found.round_trips is not None
    for row in range(len(GIVEN)):
        cosines = found.round_trips[found.candidates.row == row]
        known = cosines[np.isfinite(cosines)]
        # By their cosines, and before all that were not embedded
        assert np.isfinite(cosines[: len(known)]).all()
        assert (np.diff(known) <= 1e-5).all()


def test_the_encoder_leads_the_edits_nearer_than_its_choice_alone(decoder: GenerativeDecoder, encoder: Exact) -> None:
    # Given as many embedded texts, When edits follow what the encoder said of the first, rather than none
    led = ranked(decoder, with_edits(1, embed=12)).best_round_trips
    chosen = ranked(decoder, with_edits(0, embed=12)).best_round_trips
    # Then the best is nearer
    assert led is not None
    assert chosen is not None
    assert led.mean() > chosen.mean()


def test_one_candidate_without_edits_is_the_greedy_text(decoder: GenerativeDecoder) -> None:
    greedy = ranked(decoder, DecodeOptions(candidates=1)).candidates
    assert len(greedy) == len(GIVEN)
    # And it may be edited all the same
    assert len(ranked(decoder, DecodeOptions(candidates=1, edits=1)).candidates) > len(GIVEN)


def test_ranking_by_the_decoder_leaves_the_sketch_out(decoder: GenerativeDecoder) -> None:
    found = ranked(decoder, DecodeOptions(candidates=4, rank_by="decoder"))
    np.testing.assert_allclose(found.scores, found.candidates.log_prob / found.candidates.lengths)
    with pytest.raises(InputError, match="embed is 2, which needs an encoder"):
        ranked(decoder, DecodeOptions(candidates=4, embed=2))
