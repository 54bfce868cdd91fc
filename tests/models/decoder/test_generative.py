"""GenerativeDecoder: what a user of the library meets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.builders import decode_rows
from tests.models.decoder.toy import DIM, random_checkpoint, vectors
from unembed.errors import (
    BudgetError,
    CheckpointError,
    DimensionError,
    InputError,
    UnknownArchitectureError,
    UnknownDecoderError,
)
from unembed.generations import rows_of
from unembed.models.decoder.create import create_generative_decoder, load_decoder
from unembed.models.decoder.generative import GenerativeConfig, GenerativeDecoder, UntrainedDecoderWarning
from unembed.schemas import DecodeOptions, RowStatus


@pytest.fixture
def decoder(tmp_path: Path) -> GenerativeDecoder:
    return GenerativeDecoder.load(random_checkpoint(tmp_path / "toy"), device="cpu")


def test_the_decoder_of_the_first_reports_has_722_944_parameters_of_at_most_800_000_and_is_trained() -> None:
    decoder = create_generative_decoder(
        architecture="resource_efficient_v21", embedding_dim=768, target_parameters=800_000
    )
    answer = decoder.generate(vectors(1, 768)[0])
    assert decoder.name == "ret-v21-mpnet"
    assert answer["parameters_used"] == 722_944
    assert answer["trained"] is True


def test_a_dimension_that_no_decoder_ships_for_gives_random_weights_and_says_so() -> None:
    with pytest.warns(UntrainedDecoderWarning, match="512 dimensions"):
        decoder = create_generative_decoder(embedding_dim=512)
    answer = decoder.generate(vectors(1, 512)[0])
    assert answer["trained"] is False
    assert answer["quality_passed"] is False


def test_a_budget_that_the_network_exceeds_is_an_error_with_both_numbers() -> None:
    with pytest.raises(BudgetError, match=r"722,944 parameters.*at most 700,000"):
        create_generative_decoder(embedding_dim=768, target_parameters=700_000)


def test_v2_is_made_by_its_name_with_a_budget_of_its_own(tmp_path: Path) -> None:
    with pytest.warns(UntrainedDecoderWarning, match="768 dimensions"):
        decoder = create_generative_decoder("resource_efficient_v2", 768, device="cpu")
    answer = decoder.generate(vectors(1, 768)[0], max_pieces=8)
    assert (answer["architecture"], answer["parameters_used"]) == ("resource_efficient_v2", 2_977_792)
    # And what is saved of it can be loaded, under its own name and no other
    assert isinstance(decoder, GenerativeDecoder)
    folder = f"{decoder.save_model(tmp_path / 'two')}/"
    assert load_decoder(folder).architecture == "resource_efficient_v2"
    with pytest.raises(CheckpointError, match="holds a resource_efficient_v2; expected a resource_efficient_v21"):
        create_generative_decoder(embedding_dim=768, checkpoint=folder)


def test_a_decoder_does_not_take_up_another_architecture(decoder: GenerativeDecoder, tmp_path: Path) -> None:
    with pytest.warns(UntrainedDecoderWarning):
        other = create_generative_decoder("resource_efficient_v2", DIM)
    assert isinstance(other, GenerativeDecoder)
    with pytest.raises(CheckpointError, match="holds a resource_efficient_v2; expected a resource_efficient_v21"):
        decoder.load_model(other.save_model(tmp_path / "two"))


def test_v2_has_to_fit_its_budget_too() -> None:
    with pytest.raises(BudgetError, match=r"2,977,792 parameters.*at most 800,000"):
        create_generative_decoder("resource_efficient_v2", 768, target_parameters=800_000)


def test_an_unknown_architecture_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(UnknownArchitectureError, match=r"'transformer_xxl'.*resource_efficient_v21"):
        create_generative_decoder(architecture="transformer_xxl")


def test_an_unknown_decoder_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(UnknownDecoderError, match=r"'ret-v99'.*ret-v21-minilm"):
        GenerativeDecoder.load("ret-v99")


def test_at_384_dimensions_the_shipped_decoder_is_taken() -> None:
    decoder = create_generative_decoder(embedding_dim=384)
    assert decoder.name == "ret-v21-minilm"
    assert decoder.trained


def test_generate_says_what_was_written_and_how_well(decoder: GenerativeDecoder) -> None:
    answer = decoder.generate(vectors(1)[0])
    assert set(answer) == {
        "text", "status", "tokens", "quality_metrics", "round_trip", "off_manifold", "generation_time", "memory",
        "quality_passed", "parameters_used", "architecture", "source", "trained", "error",
    }  # fmt: skip
    assert set(answer["quality_metrics"]) == {"overall_quality", "fluency", "coherence", "diversity"}
    assert answer["generation_time"] > 0
    assert answer["text"] == decoder.decode(vectors(1)[0])


def test_a_batch_gives_each_row_what_it_gets_alone(decoder: GenerativeDecoder) -> None:
    many = vectors(9)
    together = [answer["text"] for answer in decoder.batch_generate(many)]
    assert together == [decoder.decode(vector) for vector in many]


def test_a_batch_is_one_run_of_the_loop(decoder: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    engine = decoder._engine
    loop = engine.generate

    def counted(embeddings: torch.Tensor, *rest: object) -> object:
        sizes.append(len(embeddings))
        return loop(embeddings, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(engine), "generate", lambda _, *given: counted(*given))
    decoder.batch_generate(vectors(30), candidates=1)
    assert sizes == [30]


def test_sampling_is_a_function_of_seed_and_row(decoder: GenerativeDecoder) -> None:
    options = DecodeOptions(temperature=1.0)
    whole = [row.text for row in decode_rows(decoder, vectors(8), range(8), options, seed=3)]
    half = [row.text for row in decode_rows(decoder, vectors(8)[4:], range(4, 8), options, seed=3)]
    other = [row.text for row in decode_rows(decoder, vectors(8), range(8), options, seed=4)]
    assert whole[4:] == half
    assert whole != other


def test_rows_carry_the_index_the_source_and_the_scores(decoder: GenerativeDecoder) -> None:
    decoded = decoder.decode_rows(vectors(3), [7, 8, 9], DecodeOptions(), seed=0)
    rows = list(rows_of(decoded.rows))
    assert [row.index for row in rows] == [7, 8, 9]
    assert {row.status for row in rows} == {RowStatus.OK}
    assert {row.source for row in rows} == {"toy"}
    assert all(row.decode_ms is not None and row.decode_ms > 0 for row in rows)
    assert decoded.decode_ms > 0
    assert decoded.score_ms > 0


@pytest.mark.parametrize(
    ("embeddings", "error", "message"),
    [
        (np.zeros((2, DIM), np.float32), InputError, "row 0 is a zero vector"),
        (np.full((2, DIM), np.nan, np.float32), InputError, "row 0 holds NaN or infinity"),
        (np.ones((2, 5), np.float32), DimensionError, "have 5 dimensions.*expects 16"),
        (np.ones((2, DIM), np.int64), InputError, "dtype int64; expected floating-point"),
        (np.array([["a"] * DIM], dtype=object), InputError, "dtype object"),
        ([[1.0, 2.0], [1.0]], InputError, "ragged"),
        (np.ones(DIM, np.float32), InputError, r"expected embeddings of shape \(N, 16\), got shape \(16,\)"),
    ],
)
def test_bad_input_is_named(
    decoder: GenerativeDecoder, embeddings: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        decoder.batch_generate(embeddings)  # type: ignore[arg-type]


def test_a_checkpoint_is_saved_and_loaded_whole(decoder: GenerativeDecoder, tmp_path: Path) -> None:
    saved = decoder.save_model(tmp_path / "again")
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    before = decoder.decode(vectors(1)[0])
    decoder.load_model(saved)
    assert decoder.decode(vectors(1)[0]) == before
    assert GenerativeDecoder.load(saved).decode(vectors(1)[0]) == before


def test_a_checkpoint_of_another_dimension_is_refused(decoder: GenerativeDecoder) -> None:
    with pytest.raises(DimensionError, match="16 dimensions"):
        create_generative_decoder(embedding_dim=384).load_model(
            decoder.save_model(Path(str(decoder.config.checkpoint)))
        )


def test_the_performance_report_counts_what_was_done(decoder: GenerativeDecoder) -> None:
    decoder.batch_generate(vectors(6))
    report = decoder.get_performance_report()
    assert report["generations"] == 6
    assert report["tokens"] >= 6
    assert report["decode_seconds"] > 0
    assert report["device"] == "cpu"
    assert report["precision"] == decoder.precision


def test_without_scores_the_texts_are_the_same_and_no_score_is_made_up(
    decoder: GenerativeDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given what the rows are with their scores, and an engine that cannot score
    def broken(*given: object) -> object:
        raise AssertionError("the scores were not asked for")

    scored = decoder.batch_generate(vectors(6))
    monkeypatch.setattr(decoder, "_engine", Unable(decoder._engine, broken))
    # When the same rows are decoded without scores
    unscored = decoder.batch_generate(vectors(6), scores="none")
    # Then all is the same but the scores, which are not there, and whether they passed
    missing = {"quality_metrics": None, "quality_passed": None}
    timed = ("generation_time",)
    assert [without(answer, timed) for answer in unscored] == [without(answer, timed) | missing for answer in scored]
    assert decoder.get_performance_report()["generations"] == 12
    # And what was measured is not there to be had
    decoded = decoder.decode_batch(vectors(2), np.arange(2), DecodeOptions(scores="none"), 0)
    with pytest.raises(ValueError, match="decoded with scores 'none', so nothing was measured; expected 'all'"):
        _ = decoded.evidence
    # And with scores, they are asked for
    with pytest.raises(AssertionError, match="not asked for"):
        decoder.batch_generate(vectors(2))


class Unable:
    """An engine that decodes and cannot score."""

    def __init__(self, engine: object, broken: object) -> None:
        self._engine, self.piece_log_probs = engine, broken

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


def without(answer: dict[str, object], names: tuple[str, ...]) -> dict[str, object]:
    return {name: value for name, value in answer.items() if name not in names}


def test_a_tensor_is_as_good_as_an_array(decoder: GenerativeDecoder) -> None:
    vector = vectors(1)[0]
    assert decoder.decode(torch.from_numpy(vector)) == decoder.decode(vector)
    assert decoder.decode(list(map(float, vector))) == decoder.decode(vector)


def test_the_config_is_validated() -> None:
    with pytest.raises(ValueError, match="quality_floor"):
        GenerativeConfig(quality_floor=1.5)
    with pytest.raises(InputError, match=r"device 'tpu'|unknown device"):
        GenerativeDecoder.load("ret-v21-minilm", device="tpu")
