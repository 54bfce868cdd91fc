"""The defaults of a live decoder: changed, validated, saved and loaded; a call's own options go before them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.decoder.toy import TEXTS, random_checkpoint, vectors
from unembed.errors import InputError
from unembed.models.decoder.base import TextDecoder
from unembed.models.decoder.config import Defaults, HybridConfig
from unembed.models.decoder.create import load_decoder
from unembed.models.decoder.generative import GenerativeConfig, GenerativeDecoder
from unembed.models.decoder.hybrid import save_hybrid
from unembed.models.decoder.phrase_bank import Bank
from unembed.schemas import DecodeOptions


@pytest.fixture
def decoder(tmp_path: Path) -> GenerativeDecoder:
    return GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")


def texts(decoder: TextDecoder, **options: object) -> list[str]:
    return [answer["text"] for answer in decoder.batch_generate(vectors(12), **options)]


def test_what_is_configured_is_what_a_call_takes(decoder: GenerativeDecoder) -> None:
    # Given what the decoder writes by default, and at temperature 0.7
    usual, warm = texts(decoder), texts(decoder, temperature=0.7, seed=5)
    assert usual != warm
    # When it is configured
    assert decoder.configure(temperature=0.7, seed=5).options.temperature == 0.7
    # Then a call that names nothing writes the latter, and one that names its own the former
    assert texts(decoder) == warm
    assert texts(decoder, temperature=0.0) == usual


def test_each_change_keeps_the_others(decoder: GenerativeDecoder) -> None:
    decoder.configure(temperature=0.7, quality_floor=0.9)
    decoder.configure(top_p=0.9)
    assert decoder.defaults == Defaults(options=DecodeOptions(temperature=0.7, top_p=0.9), quality_floor=0.9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temprature": 0.7}, r"unknown setting 'temprature'; there are: .*temperature.* Did you mean 'temperature'\?"),
        ({"temperature": 9.0}, r"temperature is 9\.0; expected at most 5"),
        ({"top_p": "most"}, "top_p is 'most'; expected a number"),
        ({"quality_floor": -1}, "quality_floor is -1; expected at least 0"),
        ({"seed": -3}, "seed is -3; expected at least 0"),
        ({"candidates": 8, "beams": 1}, "candidates is 8 with beams 1 at temperature 0"),
    ],
)
def test_what_is_out_of_range_is_refused_and_changes_nothing(
    decoder: GenerativeDecoder, changes: dict[str, object], message: str
) -> None:
    decoder.configure(candidates=1, temperature=0.2)
    before = decoder.defaults
    with pytest.raises(InputError, match=message):
        decoder.configure(**({"temperature": 0.0} | changes))
    assert decoder.defaults == before


def test_it_is_saved_and_loaded_with_the_checkpoint(decoder: GenerativeDecoder, tmp_path: Path) -> None:
    # Given a decoder that was configured and saved
    decoder.configure(temperature=0.7, repetition_penalty=1.2, seed=5, quality_floor=0.6)
    folder = decoder.save_model(tmp_path / "warm")
    # Then its config.json tells them
    assert json.loads((folder / "config.json").read_text())["defaults"]["options"]["temperature"] == 0.7
    # And another process takes them up: by loading, by taking the checkpoint into a live decoder
    loaded = GenerativeDecoder.load(folder, device="cpu")
    assert loaded.defaults == decoder.defaults
    assert texts(loaded) == texts(decoder)
    other = GenerativeDecoder.load(tmp_path / "toy", device="cpu")
    assert other.defaults == Defaults()
    other.load_model(folder)
    assert other.defaults == decoder.defaults


def test_what_a_decoder_is_made_with_goes_before_what_was_saved(decoder: GenerativeDecoder, tmp_path: Path) -> None:
    folder = decoder.save_model(tmp_path / "warm")
    decoder.configure(temperature=0.7, seed=5)
    decoder.save_model(folder)
    config = GenerativeConfig(embedding_dim=16, checkpoint=folder, device="cpu", seed=9)
    assert GenerativeDecoder(config).defaults == Defaults(options=DecodeOptions(temperature=0.7), seed=9)


def test_what_nobody_chose_is_not_saved(decoder: GenerativeDecoder, tmp_path: Path) -> None:
    decoder.configure(temperature=0.7, candidates=5)
    config = json.loads((decoder.save_model(tmp_path / "warm") / "config.json").read_text())
    assert config["defaults"]["options"] == {"temperature": 0.7}


@pytest.mark.parametrize("name", ["ret-v21-minilm", "ret-v21-e5-small", "ret-v21-mpnet"])
def test_the_decoders_that_ship_decode_as_usual(name: str) -> None:
    assert GenerativeDecoder.load(name, "cpu").defaults == Defaults()


@pytest.mark.parametrize(
    ("saved", "today"),
    [
        # What nobody chose
        ({"candidates": 1, "rank_by": "auto", "rounds": 1, "beams": None}, {}),
        # One setting chosen, and what was the default then is what is now
        ({"candidates": 1, "rounds": 1, "beams": None, "max_pieces": 20}, {"max_pieces": 20}),
        ({"candidates": 1, "rounds": 1, "beams": 16}, {"candidates": 1, "beams": 16, "edits": 0}),
        # Candidates that the encoder ranked, and those that the decoder did
        (
            {"candidates": 4, "rank_by": "encoder", "rounds": 2},
            {"candidates": 4, "beams": 16, "embed": 4, "edits": 0},
        ),
        (
            {"candidates": 12, "rank_by": "decoder", "rounds": 1, "temperature": 0.7},
            {"candidates": 12, "rank_by": "decoder", "edits": 0, "temperature": 0.7},
        ),
    ],
)
@pytest.mark.parametrize("kind", ["network", "bank", "hybrid"])
def test_what_an_earlier_version_saved_is_read_in_todays_words(
    decoder: GenerativeDecoder, tmp_path: Path, kind: str, saved: dict[str, object], today: dict[str, object]
) -> None:
    # Given a decoder of each kind, whose config.json an earlier version wrote
    Bank.of(TEXTS, vectors(), name="phrases").save(tmp_path / "phrases")
    save_hybrid(tmp_path / "both", HybridConfig(name="both", embedding_dim=16, decoder="toy", bank="phrases"))
    path = tmp_path / {"network": "toy", "bank": "phrases", "hybrid": "both"}[kind] / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"defaults": {"options": saved, "seed": 3, "quality_floor": 0.4}}))
    # When it is loaded, Then its defaults mean today what they meant then
    loaded = load_decoder(path.parent, "cpu").defaults
    assert loaded == Defaults(options=DecodeOptions.model_validate(today), seed=3, quality_floor=0.4)


def test_a_phrase_bank_keeps_its_own(tmp_path: Path) -> None:
    Bank.of(TEXTS, vectors(), name="phrases").save(tmp_path / "phrases")
    bank = load_decoder(tmp_path / "phrases", "cpu")
    bank.configure(candidates=3)
    assert len(bank.batch_generate(vectors(1), n_best=9)[0]["candidates"]) == 3
    assert load_decoder(bank.save_model(tmp_path / "again"), "cpu").defaults == bank.defaults


def test_a_hybrid_keeps_its_own(tmp_path: Path) -> None:
    # Given a hybrid beside its parts, that takes the defaults of its decoder
    network = GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")
    network.configure(temperature=0.3)
    network.save_model(tmp_path / "toy")
    Bank.of(TEXTS, vectors(), name="phrases").save(tmp_path / "phrases")
    (tmp_path / "both").mkdir()
    both = {
        "architecture": "hybrid", "name": "both", "embedding_dim": 16, "decoder": "toy", "bank": "phrases",
    }  # fmt: skip
    (tmp_path / "both" / "config.json").write_text(json.dumps(both))
    hybrid = load_decoder(tmp_path / "both", "cpu")
    assert hybrid.defaults.options.temperature == 0.3
    # When it is configured and saved, Then it keeps its own
    hybrid.configure(temperature=0.7)
    hybrid.save_model(tmp_path / "both")
    assert load_decoder(tmp_path / "both", "cpu").defaults.options.temperature == 0.7
