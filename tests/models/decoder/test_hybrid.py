"""The hybrid: which of its parts answers, and that the row says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.builders import decode_rows
from tests.models.decoder.toy import DIM, TEXTS, random_checkpoint, sketch_of_words, sketched_checkpoint, vectors
from unembed.errors import CheckpointError, DimensionError, UnknownDecoderError
from unembed.generations import from_columns
from unembed.models.decoder import rank
from unembed.models.decoder.base import Answered
from unembed.models.decoder.candidates import Candidate
from unembed.models.decoder.config import HybridConfig
from unembed.models.decoder.create import create_generative_decoder, load_decoder
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.hybrid import HybridDecoder, save_hybrid
from unembed.models.decoder.phrase_bank import Bank, PhraseBankDecoder
from unembed.models.decoder.vectors import Indices, Vectors
from unembed.schemas import GREEDY, DecodeOptions, Generation, RowStatus

SKETCH = sketch_of_words()
BLIND = GREEDY  # no text is embedded again


@pytest.fixture
def network(tmp_path: Path) -> GenerativeDecoder:
    return GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")


def phrases(threshold: float = 0.0) -> PhraseBankDecoder:
    return PhraseBankDecoder(Bank.of(TEXTS, vectors(), name="phrases", threshold=threshold), device="cpu")


def config(**changes: object) -> HybridConfig:
    known = {"name": "both", "embedding_dim": DIM, "decoder": "toy", "bank": "phrases"}
    return HybridConfig.model_validate(known | changes)


def rows(decoder: HybridDecoder, given: Vectors, options: DecodeOptions = BLIND) -> list[Generation]:
    return decode_rows(decoder, given, range(len(given)), options, 0)


def test_a_phrase_that_is_near_enough_answers_and_the_row_says_fallback(network: GenerativeDecoder) -> None:
    # Given a hybrid that believes phrases from a cosine of 0.9, and no encoder
    decoder = HybridDecoder(config(known_from=0.9), network, phrases())
    # When a known vector and a strange one are decoded
    known, strange = rows(decoder, np.stack([vectors()[3], vectors(1, seed=9)[0]]))
    # Then the first has its phrase, by the bank, and the second the network's text
    assert (known.status, known.source, known.text) == (RowStatus.FALLBACK, "phrases", TEXTS[3])
    assert known.round_trip == pytest.approx(1.0, abs=1e-3)
    assert (strange.status, strange.source) == (RowStatus.OK, "toy")
    assert strange.text == network.decode(vectors(1, seed=9)[0], candidates=1)


def scripted(network: GenerativeDecoder, cosine: float, quality: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the network answer "own" with this cosine and overall_quality, as if the encoder had seen it."""

    def raw_answer(given: Vectors, indices: Indices, *rest: object) -> Answered:
        candidates = (Candidate("own", cosine, "toy", cosine), Candidate("other", cosine - 0.2, "toy", cosine - 0.2))
        known = {"tokens": 1, "overall_quality": quality, "diversity": 1.0, "round_trip": cosine}
        own = from_columns(indices, text="own", status=RowStatus.OK, source="toy", **known)
        return Answered(own, 1.0, 1.0, candidates=lambda row: candidates)

    monkeypatch.setattr(network, "raw_answer", raw_answer)


def near(phrase: int, cosine: float) -> Vectors:
    """A unit vector (1, D) at this cosine to a phrase's."""
    towards, across = vectors()[phrase], vectors(1, seed=8)[0]
    across = across - (across @ towards) * towards
    across /= np.linalg.norm(across)
    return (cosine * towards + np.sqrt(1 - cosine**2) * across)[None].astype(np.float32)


@pytest.mark.parametrize(
    ("margin", "cosine", "source"),
    [(0.0, 0.8, "phrases"), (0.0, 0.95, "toy"), (0.15, 0.8, "toy"), (-0.1, 0.95, "phrases")],
)
def test_with_the_encoder_the_nearer_answers_but_for_the_margin(
    network: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch, margin: float, cosine: float, source: str
) -> None:
    # Given a phrase at a cosine of 0.9, and a text of the network's at another
    scripted(network, cosine, 0.9, monkeypatch)
    decoder = HybridDecoder(config(margin=margin), network, phrases())
    # When the row is decoded, Then the nearer answers, once the margin is added to the network's
    answer = decoder.batch_generate(near(3, 0.9), n_best=9)[0]
    assert answer["source"] == source
    assert answer["status"] == ("ok" if source == "toy" else "fallback")
    # And both are among the candidates, the answer first, the others by their cosines
    assert answer["candidates"][0]["text"] == answer["text"]
    assert {candidate["source"] for candidate in answer["candidates"]} == {"toy", "phrases"}
    rest = [candidate["round_trip"] for candidate in answer["candidates"][1:]]
    assert rest == sorted(rest, reverse=True)


def test_under_the_floor_the_bank_answers_and_without_one_the_row_is_an_error(
    network: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a text that is nearest but of little quality
    scripted(network, 0.99, 0.1, monkeypatch)
    with_bank = HybridDecoder(config(floor=0.2), network, phrases())
    alone = HybridDecoder(config(floor=0.2, bank=None), network)
    far = HybridDecoder(config(floor=0.2), network, phrases(threshold=0.95))
    # When the row is decoded, Then the bank answers, or the row says why there is no text
    assert rows(with_bank, near(3, 0.9))[0].text == TEXTS[3]
    for decoder, why in ((alone, "there is no phrase bank"), (far, r"cosine of 0.9")):
        row = rows(decoder, near(3, 0.9))[0]
        assert (row.status, row.text, row.error_code) == (RowStatus.ERROR, None, "no_answer")
        assert "overall_quality is 0.100, under the floor of 0.200" in str(row.error)
        assert why in str(row.error)


@pytest.mark.parametrize("bank", [True, False])
def test_a_row_over_which_the_network_fails_takes_no_other_with_it(
    network: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch, bank: bool
) -> None:
    # Given a network that fails over row 3
    given = vectors(6)
    expected = [row.text for row in decode_rows(network, given, range(6), BLIND, 0)]
    whole = network.raw_answer

    def fails(some: Vectors, indices: np.ndarray, *rest: object) -> Answered:
        if 3 in indices:
            raise RuntimeError("index out of range in self")
        return whole(some, indices, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(network, "raw_answer", fails)
    # When six rows are decoded
    decoder = HybridDecoder(config(bank="phrases" if bank else None), network, phrases() if bank else None)
    decoded = rows(decoder, given)
    # Then the five others are the network's, and the third the bank's, or an error that says what happened
    assert [row.text for row in decoded if row.index != 3] == [text for n, text in enumerate(expected) if n != 3]
    if bank:
        assert (decoded[3].status, decoded[3].text) == (RowStatus.FALLBACK, TEXTS[3])
    else:
        assert (decoded[3].status, decoded[3].error_code) == (RowStatus.ERROR, "no_answer")
        assert "RuntimeError: index out of range in self; there is no phrase bank" in str(decoded[3].error)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: an illegal access"), MemoryError(), KeyboardInterrupt()])
def test_what_no_row_is_at_fault_for_passes_through(
    network: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fails(*rest: object) -> Answered:
        raise error

    monkeypatch.setattr(network, "raw_answer", fails)
    with pytest.raises(type(error)):
        rows(HybridDecoder(config(), network, phrases()), vectors(4))


def test_a_row_gets_the_same_alone_and_among_others(network: GenerativeDecoder) -> None:
    decoder = HybridDecoder(config(known_from=0.6), network, phrases())
    given = np.concatenate([near(number, 0.3 + 0.1 * number) for number in range(6)])
    options = BLIND.model_copy(update={"candidates": 3, "temperature": 1.0})
    together = [(row.text, row.source) for row in rows(decoder, given, options)]
    alone = [decode_rows(decoder, given[n : n + 1], [n], options, 0)[0] for n in range(6)]
    assert together == [(row.text, row.source) for row in alone]
    assert {source for _, source in together} == {"toy", "phrases"}


def test_without_scores_none_is_there_but_the_floor_still_holds(
    network: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a hybrid with a floor, whose network answers with an overall_quality under it, and a phrase that is near
    scripted(network, cosine=0.9, quality=0.1, monkeypatch=monkeypatch)
    decoder = HybridDecoder(config(floor=0.5), network, phrases())
    for scores in ("all", "none"):
        # When a row is decoded with scores and without, Then the phrase answers in place of the text under the floor
        (row,) = rows(decoder, near(2, 0.8), DecodeOptions(scores=scores))
        assert (row.status, row.text) == (RowStatus.FALLBACK, TEXTS[2])
        # And the row has a score only where it was asked for
        assert (row.diversity is not None) == (scores == "all")
    # And the bank alone has none either
    assert phrases().generate(vectors()[3], scores="none")["quality_metrics"] is None


@pytest.mark.parametrize("asked", [{"round_trip": True}, {"embed": 1}])
def test_where_the_text_is_embedded_again_it_is_compared_with_the_phrase(
    network: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch, asked: dict[str, object]
) -> None:
    # Given an encoder that gives every text the first phrase's vector
    class Same:
        def encode(self, texts: list[str]) -> np.ndarray:
            return np.repeat(vectors(1), len(texts), axis=0)

    monkeypatch.setattr(rank, "shared_encoder", lambda name, precision: Same())
    monkeypatch.setattr(rank, "why_not", lambda name: None)
    network.description = replace(network.description, encoder="toy")
    # When the first phrase's vector is decoded, Then the network's text is as near as the phrase, and answers
    options = GREEDY.model_copy(update=asked)
    row = rows(HybridDecoder(config(margin=0.001, known_from=0.5), network, phrases()), vectors(1), options)[0]
    assert (row.source, row.status) == ("toy", RowStatus.OK)
    assert row.round_trip == pytest.approx(1.0, abs=1e-6)
    # And where it is not embedded again, the phrase answers, as it is near enough
    row = rows(HybridDecoder(config(margin=0.001, known_from=0.5), network, phrases()), vectors(1), GREEDY)[0]
    assert (row.source, row.status) == ("phrases", RowStatus.FALLBACK)


def test_a_hybrid_is_saved_and_loaded_with_its_parts_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a network, a bank and a hybrid in a folder of decoders
    random_checkpoint(tmp_path / "toy")
    Bank.of(TEXTS, vectors(), name="phrases").save(tmp_path / "phrases")
    save_hybrid(tmp_path / "both", config(known_from=0.9))
    monkeypatch.setenv("UNEMBED_DECODERS", str(tmp_path))
    # When it is asked for by name, Then it is there with both
    loaded = load_decoder("both", "cpu")
    assert (loaded.name, loaded.architecture, loaded.embedding_dim) == ("both", "hybrid", DIM)
    assert loaded.generate(vectors()[5])["source"] == "phrases"
    assert create_generative_decoder("hybrid", DIM, checkpoint="both").decode(vectors()[5]) == TEXTS[5]


def test_parts_that_do_not_fit_are_refused(tmp_path: Path, network: GenerativeDecoder) -> None:
    with pytest.raises(DimensionError, match="have 8 dimensions, but its part 'toy' expects 16"):
        HybridDecoder(config(embedding_dim=8), network)
    save_hybrid(tmp_path / "both", config(bank=None, decoder="gone"))
    with pytest.raises(UnknownDecoderError, match="'gone'"):
        HybridDecoder.load(tmp_path / "both")
    save_hybrid(tmp_path / "both", config(bank="toy"))
    with pytest.raises(CheckpointError, match="holds a resource_efficient_v21; expected a phrase_bank"):
        HybridDecoder.load(tmp_path / "both")
    with pytest.raises(ValueError, match="bank"):
        config(bank="../elsewhere")


@pytest.fixture
def sketched(tmp_path: Path) -> GenerativeDecoder:
    return GenerativeDecoder.load(sketched_checkpoint(tmp_path / "toy"), device="cpu", precision="float32")


def like_sketches(threshold: float = -1.0) -> PhraseBankDecoder:
    """A bank whose embeddings are what the sketch takes them for, all off in one direction."""
    off = SKETCH.vectors(TEXTS) + 0.3 * SKETCH.vectors(["We"])
    return PhraseBankDecoder(Bank.of(TEXTS, off, name="phrases", threshold=threshold), device="cpu")


def between(count: int) -> Vectors:
    """Vectors between those of two phrases."""
    both = like_sketches().bank.vectors.astype(np.float32)
    return np.asarray(both[:count] + 0.6 * np.roll(both, 1, axis=0)[:count], dtype=np.float32)


def test_phrases_beside_the_network_s_texts_bring_it_nearer(sketched: GenerativeDecoder) -> None:
    # Given a network with a sketch, and a bank whose phrases lie near the vectors
    bank, given = like_sketches(), between(6)
    options = DecodeOptions(candidates=4, edits=2)
    # When rows are decoded without it and with it
    alone = decode_rows(sketched, given, range(6), options, 0)
    both = rows(HybridDecoder(config(), sketched, bank), given, options)
    # Then some texts are phrases, and say so, or come of them by edits; together they are nearer
    assert {row.source for row in both} <= {"toy", "phrases"}
    for row in both:
        assert (row.status is RowStatus.FALLBACK) == (row.source == "phrases") == (row.text in TEXTS)
        if row.source == "phrases":
            assert row.round_trip is not None
            assert row.overall_quality is None

    def nearness(found: list[Generation]) -> float:
        return float(SKETCH.cosines([row.text or "" for row in found], given).mean())

    assert nearness(both) > nearness(alone)


def test_a_phrase_with_the_given_vector_answers_whatever_the_network_says(sketched: GenerativeDecoder) -> None:
    bank = like_sketches()
    decoder = HybridDecoder(config(), sketched, bank)
    found = rows(decoder, bank.bank.vectors[:5].astype(np.float32), DecodeOptions(candidates=4, edits=1))
    assert [row.text for row in found] == TEXTS[:5]


def test_phrases_that_are_too_far_are_not_beside_it(sketched: GenerativeDecoder) -> None:
    # Given a bank that answers only from a cosine that no phrase has
    given, options = between(6), DecodeOptions(candidates=4, edits=1)
    far = HybridDecoder(config(), sketched, like_sketches(threshold=0.9999))
    # When rows are decoded, Then all is as without a bank
    alone = decode_rows(sketched, given, range(6), options, 0)
    assert [row.text for row in rows(far, given, options)] == [row.text for row in alone]


def test_what_is_beside_a_row_depends_on_no_other_row(sketched: GenerativeDecoder) -> None:
    decoder, options = HybridDecoder(config(), sketched, like_sketches()), DecodeOptions(candidates=4, edits=1)
    together = rows(decoder, between(6), options)
    alone = [decode_rows(decoder, between(6)[[row]], [row], options, 0)[0] for row in range(6)]
    assert [row.text for row in together] == [row.text for row in alone]


def test_the_candidates_say_who_wrote_them(sketched: GenerativeDecoder) -> None:
    decoder = HybridDecoder(config(), sketched, like_sketches())
    answer = decoder.batch_generate(between(1), n_best=9)[0]
    sources = {candidate["text"]: candidate["source"] for candidate in answer["candidates"]}
    assert sources[answer["text"]] == answer["source"]
    assert set(sources.values()) == {"toy", "phrases"}
