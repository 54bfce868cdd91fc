"""What is no vector of a text is flagged, what is one is not, and the row says so wherever it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.builders import decode_rows
from tests.models.decoder.toy import DIM, TEXTS, random_checkpoint, vectors
from unembed.cli import main
from unembed.errors import CheckpointError, DimensionError, InputError
from unembed.models.decoder.checkpoint import load_checkpoint, save_checkpoint
from unembed.models.decoder.config import CheckpointConfig, HybridConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.hybrid import HybridDecoder
from unembed.models.decoder.manifold import DIRECTIONS_FILE, LIMITS_FILE, MANY, Manifold, fit_manifold, rows_needed
from unembed.models.decoder.phrase_bank import Bank, PhraseBankDecoder
from unembed.models.decoder.vectors import Vectors
from unembed.models.evaluation.analysis import doubt_of
from unembed.models.training.add_manifold import add_manifold
from unembed.schemas import DecodeOptions, RowStatus

BLIND = DecodeOptions(rank_by="decoder")
WIDE = 192  # in few dimensions single vectors come as near to the mean as the means of many


def real(count: int, seed: int = 1, dim: int = DIM) -> Vectors:
    """Vectors (count, dim) such as an encoder gives: near a subspace, around a mean that is not zero."""
    generator = np.random.default_rng(seed)
    used = 3 * dim // 4
    subspace = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, dim)))[0][:used]
    drawn = generator.normal(size=(count, used)) @ subspace + 0.35 * np.sqrt(used) * subspace[0]
    return np.asarray(drawn + 0.01 * generator.normal(size=(count, dim)), dtype=np.float32)


def noise(count: int = 1000, dim: int = DIM) -> Vectors:
    return np.random.default_rng(7).normal(size=(count, dim)).astype(np.float32)


@pytest.fixture(scope="module")
def manifold() -> Manifold:
    return fit_manifold(real(4000))


@pytest.fixture(scope="module")
def wide() -> Manifold:
    return fit_manifold(real(8000, dim=WIDE))


@pytest.fixture
def folder(tmp_path: Path, manifold: Manifold) -> Path:
    """A toy checkpoint that knows what real vectors look like."""
    made = random_checkpoint(tmp_path / "toy")
    save_checkpoint(made, replace(load_checkpoint(made), manifold=manifold))
    return made


def test_noise_is_flagged_and_real_vectors_are_not(wide: Manifold) -> None:
    # Given a model of real vectors, When others of their kind come, and Gaussian noise
    # Then one in a hundred of the former counts as off at most, and 99 of the latter at least
    assert wide.off(real(4000, 2, WIDE)).mean() <= 0.01
    assert wide.off(noise(1000, WIDE)).mean() >= 0.99
    # And what it says of itself is of that order
    assert wide.limits.false_alarms <= 0.01
    assert wide.limits.noise_found >= 0.99
    assert wide.limits.centroids_found >= 0.99
    assert wide.limits.rows == 8000


def test_a_centroid_of_unrelated_texts_is_flagged_and_a_negated_vector(wide: Manifold) -> None:
    units = real(4000, 2, WIDE)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    # Given means of many and of two vectors, drawn at random, When they are looked at
    crowds = units.reshape(80, MANY, WIDE).mean(axis=1)
    pairs = units.reshape(2000, 2, WIDE).mean(axis=1)
    # Then the former count as off, the latter seldom
    assert wide.off(crowds).all()
    assert wide.off(pairs).mean() < 0.05
    # And so do vectors that point away from the mean of all texts
    assert wide.off(-crowds).all()
    assert wide.off(-units).mean() > 0.5


def test_the_length_of_a_vector_says_nothing_nor_does_rounding_to_8_bits(manifold: Manifold) -> None:
    given = np.concatenate([real(500, seed=3), noise(500)])
    expected = manifold.off(given).tolist()
    # Given the same vectors, longer, shorter, and as integers, When they are looked at, Then the answers are the same
    for scale in (1e-20, 1e3, 1e18):
        assert manifold.off(given * np.float32(scale)).tolist() == expected
    integers = np.round(given / np.abs(given).max(axis=1, keepdims=True) * 127)
    assert np.mean(manifold.off(integers) == expected) > 0.98


def test_vectors_that_fill_the_whole_space_are_still_seldom_flagged() -> None:
    # Given an embedder whose vectors cannot be told from noise, When a model is made of them
    made = fit_manifold(noise(3000))
    # Then it says that it finds none, rather than flagging what is real
    assert made.limits.false_alarms < 0.03
    assert made.limits.noise_found < 0.03


def test_too_few_vectors_are_refused_with_how_many_are_needed() -> None:
    assert (rows_needed(DIM), rows_needed(768)) == (1000, 3072)
    given = real(1001)
    given[:2] = [[np.nan], [0.0]]
    with pytest.raises(InputError, match=r"999 vectors are too few .* expected 1,000"):
        fit_manifold(given)


def test_it_is_saved_with_the_checkpoint_and_does_not_outlive_its_weights(folder: Path, manifold: Manifold) -> None:
    # Given a checkpoint that was saved with it, When it is loaded
    loaded = load_checkpoint(folder)
    # Then it answers as before, and the files are small
    assert loaded.manifold is not None
    given = np.concatenate([real(500, seed=3), noise(500)])
    assert loaded.manifold.off(given).tolist() == manifold.off(given).tolist()
    assert loaded.manifold.limits == manifold.limits
    assert (folder / DIRECTIONS_FILE).stat().st_size < 1000
    # And the decoder takes it along when it is saved elsewhere
    elsewhere = GenerativeDecoder.load(folder, "cpu").save_model(folder.parent / "copy")
    assert load_checkpoint(elsewhere).manifold is not None
    # And other weights in the same folder do not inherit it
    save_checkpoint(folder, replace(loaded, manifold=None))
    assert load_checkpoint(folder).manifold is None


@pytest.mark.parametrize("name", [DIRECTIONS_FILE, LIMITS_FILE])
def test_half_of_it_is_damage(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"the model of real vectors in .* cannot be read"):
        load_checkpoint(folder)


def cut(folder: Path) -> None:
    path = folder / DIRECTIONS_FILE
    path.write_bytes(path.read_bytes()[:-3])


def of_another_dimension(folder: Path) -> None:
    save_file({"mean": np.zeros(8), "directions": np.eye(8)[:2]}, folder / DIRECTIONS_FILE)


def not_a_number(folder: Path) -> None:
    kept = load_file(folder / DIRECTIONS_FILE)
    kept["directions"][1, 3] = np.nan
    save_file(kept, folder / DIRECTIONS_FILE)


def a_mean_that_is_none(folder: Path) -> None:
    kept = load_file(folder / DIRECTIONS_FILE)
    save_file(kept | {"mean": kept["mean"] * np.float32(10)}, folder / DIRECTIONS_FILE)


def a_limit_that_is_none(folder: Path) -> None:
    limits = json.loads((folder / LIMITS_FILE).read_text())
    (folder / LIMITS_FILE).write_text(json.dumps(limits | {"outside": 7}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "cannot be read"),
        (of_another_dimension, r"a mean of shape \(8,\) and directions of shape \(2, 8\); expected \(16,\)"),
        (not_a_number, "is damaged; expected directions at right angles"),
        (a_mean_that_is_none, "is damaged; .* a mean of unit vectors"),
        (a_limit_that_is_none, "cannot be read: .*outside"),
    ],
)
def test_a_damaged_file_is_refused_with_what_was_expected(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=rf"(?s)the model of real vectors in .*{message}"):
        load_checkpoint(folder)


def test_the_row_says_so_and_does_not_pass_and_its_text_stays(folder: Path, tmp_path: Path) -> None:
    # Given two decoders of the same weights, of which one knows what real vectors look like
    checkpoint = load_checkpoint(folder)
    checkpoint = replace(checkpoint, config=with_quality(checkpoint.config))
    save_checkpoint(folder, checkpoint)
    save_checkpoint(tmp_path / "old", replace(checkpoint, manifold=None))
    knowing, old = (GenerativeDecoder.load(path, "cpu") for path in (folder, tmp_path / "old"))
    given = np.concatenate([real(3, seed=4), noise(3)])
    # When they decode real vectors and noise
    answers, others = knowing.batch_generate(given), old.batch_generate(given)
    # Then the one says which is which, and those that are off do not pass
    assert [answer["off_manifold"] for answer in answers] == [False] * 3 + [True] * 3
    assert [answer["quality_passed"] for answer in answers] == [True] * 3 + [False] * 3
    report = knowing.get_performance_report()
    assert (report["generations"], report["off_manifold"], report["quality_passed"]) == (6, 3, 3)
    # And the other does not know, and is as ever
    assert [answer["off_manifold"] for answer in others] == [None] * 6
    assert all(answer["quality_passed"] for answer in others)
    assert old.get_performance_report()["off_manifold"] is None
    # And texts and scores are the same, but that nothing can be faithful to what is no text's
    same = ("text", "tokens", "status")
    assert [[one[name] for name in same] for one in answers] == [[one[name] for name in same] for one in others]
    for answer, other, off in zip(answers, others, [False] * 3 + [True] * 3, strict=True):
        told = other["quality_metrics"] | ({"overall_quality": 0.0} if off else {})
        assert answer["quality_metrics"] == told
    # And the rows of a job say so too
    rows = decode_rows(knowing, given, range(6), DecodeOptions(), 0)
    assert [row.off_manifold for row in rows] == [False] * 3 + [True] * 3
    assert [row.overall_quality for row in rows] == [0.5] * 3 + [0.0] * 3


def with_quality(config: CheckpointConfig) -> CheckpointConfig:
    """Calibrated, such that every text has an overall_quality of one half."""
    calibration = {"outcome": "x", "rows": 1, "features": [], "weights": [], "bias": 0.0, "lm_log_probs": [-2.0, -1.0]}
    return CheckpointConfig.model_validate(config.model_dump() | {"calibration": calibration})


def test_in_a_hybrid_its_network_says_so_whoever_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a bank that answers every vector, and one that answers none
    network = GenerativeDecoder.load(folder, "cpu")
    bank = PhraseBankDecoder(Bank.of(TEXTS, vectors(), name="phrases"), device="cpu")
    silent = PhraseBankDecoder(Bank.of(TEXTS, vectors(), name="phrases"), device="cpu", threshold=1.0)
    given = np.concatenate([real(2, seed=4), noise(2)])
    config = HybridConfig(name="both", embedding_dim=DIM, decoder="toy", bank="phrases", known_from=-1.0)
    # When the bank answers, or the network does, or it fails and nobody does
    by_bank = decode_rows(HybridDecoder(config, network, bank), given, range(4), BLIND, 0)
    by_network = decode_rows(HybridDecoder(config, network, silent), given, range(4), BLIND, 0)

    def fail(*given: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(network, "decode_batch", fail)
    by_nobody = decode_rows(HybridDecoder(config, network, silent), given, range(4), BLIND, 0)
    # Then the rows say the same of the vectors
    assert {row.status for row in by_bank} == {RowStatus.FALLBACK}
    assert {row.status for row in by_network} == {RowStatus.OK}
    assert {row.status for row in by_nobody} == {RowStatus.ERROR}
    for rows in (by_bank, by_network, by_nobody):
        assert [row.off_manifold for row in rows] == [False, False, True, True]
    # And a bank alone does not know
    assert bank.generate(noise(1)[0])["off_manifold"] is None


def test_an_older_checkpoint_is_given_one_from_files_of_vectors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a checkpoint without one, with a card
    folder = random_checkpoint(tmp_path / "toy")
    (folder / "README.md").write_text("# toy\n\n## Training\n\n- long\n")
    weights = (folder / "model.safetensors").read_bytes()
    np.save(tmp_path / "a.npy", real(1500, seed=1))
    np.save(tmp_path / "b.npy", real(700, seed=2).astype(np.float16))
    # When it is given one, twice
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["add-manifold", f"{folder}/", str(tmp_path / "a.npy"), str(tmp_path / "b.npy")])
        assert ended.value.code == 0
    # Then it is there, made of all rows, and the weights are what they were
    made = load_checkpoint(folder).manifold
    assert made is not None
    assert made.limits.rows == 2200
    assert made.off(noise()).mean() >= 0.99
    assert (folder / "model.safetensors").read_bytes() == weights
    assert '"rows": 2200' in capsys.readouterr().out
    # And the card tells of it once
    card = (folder / "README.md").read_text()
    assert card.count("## Vectors off the manifold") == 1
    assert "2,200 vectors of texts" in card
    assert card.endswith("## Training\n\n- long\n")


def test_vectors_that_a_decoder_does_not_read_are_refused(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "toy")
    np.save(tmp_path / "wide.npy", vectors(1200, 24))
    (tmp_path / "a.txt").write_text("a text\n")
    with pytest.raises(DimensionError, match="24 dimensions"):
        add_manifold(folder, [tmp_path / "wide.npy"])
    with pytest.raises(InputError, match="'toy' names no encoder; expected files of embeddings"):
        add_manifold(folder, [tmp_path / "a.txt"])


def test_a_report_tells_of_the_set_and_of_vectors_that_are_of_no_text(wide: Manifold) -> None:
    # Given a set of real vectors, When it is doubted
    doubt = doubt_of(wide, real(400, 5, WIDE))
    # Then hardly any of its own is off, while noise and centroids are
    assert doubt is not None
    assert doubt.rows <= 0.02
    assert doubt.noise >= 0.98
    assert doubt.centroids >= 0.99
    assert doubt.whole
    # And a decoder that does not know says nothing
    assert doubt_of(None, real(400)) is None
