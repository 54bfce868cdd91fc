"""A checkpoint that does not decode its own vectors as it did is not served; other arithmetic is no reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.decoder.toy import random_checkpoint, vectors
from unembed.cli import main
from unembed.errors import CheckpointError
from unembed.models.decoder.catalog import SHIPPED
from unembed.models.decoder.checkpoint import load_checkpoint, save_checkpoint
from unembed.models.decoder.create import load_decoder
from unembed.models.decoder.engines import engine_for
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.self_test import make_self_test
from unembed.models.device import Device


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the decoder that ships."""
    return Path(shutil.copytree(SHIPPED / "ret-v21-minilm", tmp_path / "copy"))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def flip_a_row(state: dict[str, torch.Tensor]) -> None:
    state["bridge.weight"][0].neg_()


def swap_the_mlp(state: dict[str, torch.Tensor]) -> None:
    state["layer.up.weight"] = state["layer.up.weight"].flip(0).contiguous()


def lose_a_number(state: dict[str, torch.Tensor]) -> None:
    state["final_norm.weight"][3] = torch.nan


def add_noise(state: dict[str, torch.Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=generator) * value.float().std() * 0.05
        state[name] = (value.float() + (noise if value.ndim > 1 else 0.0)).half()


def test_the_decoder_that_ships_passes(folder: Path) -> None:
    assert load_decoder(folder, "cpu").decode(np.ones(384, np.float32))
    kept = load_checkpoint(folder).self_test
    assert kept is not None
    assert len(kept.expected.rows) == 8


@pytest.mark.parametrize("damage", [flip_a_row, swap_the_mlp, lose_a_number, add_noise])
def test_weights_that_were_changed_are_refused_with_what_was_expected_and_found(
    folder: Path, damage: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    # Given weights that load without complaint, and are not those that were trained
    known = load_checkpoint(folder).self_test
    assert known is not None
    change_weights(folder, damage)
    # Then the decoder is not served, and the message tells both texts
    with pytest.raises(CheckpointError, match="ret-v21-minilm fails its self-test and is not served") as refused:
        load_decoder(folder, "cpu")
    assert any(f"expected {row.text!r}" in str(refused.value) for row in known.expected.rows)
    assert "on cpu in " in str(refused.value)


def test_a_tokenizer_of_another_training_is_refused(folder: Path) -> None:
    # Given pieces of which two have changed places: the same number, and every file is whole
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["e"], vocab["a"] = vocab["a"], vocab["e"]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match=r"its pieces read as '.*'; expected '.*'"):
        load_decoder(folder, "cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_coarser_arithmetic_passes(folder: Path, dtype: torch.dtype) -> None:
    # Given the precisions that GPUs serve with, here emulated
    checkpoint = load_checkpoint(folder)
    assert checkpoint.self_test is not None
    # Then the texts may part where pieces were as good as tied, and the self-test passes
    device = Device(torch.device("cpu"), dtype)
    for engine in (engine_for(checkpoint.network, device), engine_for(checkpoint.network, device, "torch")):
        checkpoint.self_test.run("copy", engine, checkpoint.tokenizer, device)


def test_a_text_that_parts_where_nothing_was_tied_is_refused(folder: Path) -> None:
    # Given weights in order, but a loop that decodes something else: another row's vector
    checkpoint = load_checkpoint(folder)
    assert checkpoint.self_test is not None
    rows = checkpoint.self_test.expected.rows
    swapped = replace(
        checkpoint.self_test,
        expected=checkpoint.self_test.expected.model_copy(
            update={"drift": 99.0, "rows": (rows[1], rows[0], *rows[2:])}
        ),
    )
    device = Device(torch.device("cpu"), torch.float32)
    with pytest.raises(CheckpointError, match=r"within 0\.25 nats") as refused:
        swapped.run("copy", engine_for(checkpoint.network, device), checkpoint.tokenizer, device)
    assert f"a vector gives {rows[0].text!r}" in str(refused.value)
    assert f"expected {rows[1].text!r}" in str(refused.value)


def test_a_decoder_that_was_refused_another_checkpoint_stays_as_it_was(folder: Path) -> None:
    decoder = GenerativeDecoder.load(SHIPPED / "ret-v21-minilm", device="cpu")
    vector = np.ones(384, np.float32)
    before, checkpoint = decoder.decode(vector), decoder.config.checkpoint
    change_weights(folder, flip_a_row)
    with pytest.raises(CheckpointError):
        decoder.load_model(folder)
    assert (decoder.decode(vector), decoder.config.checkpoint) == (before, checkpoint)


@pytest.mark.parametrize("name", ["self_test.json", "self_test.safetensors"])
def test_half_a_self_test_is_damage(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"the self-test of .* cannot be read"):
        load_checkpoint(folder)


def test_vectors_of_another_dimension_are_damage(folder: Path) -> None:
    save_file({"vectors": torch.ones(8, 16)}, folder / "self_test.safetensors")
    with pytest.raises(CheckpointError, match=r"vectors of shape \(8, 16\); expected \(8, 384\)"):
        load_checkpoint(folder)


def test_it_is_saved_with_the_checkpoint_and_does_not_outlive_its_weights(tmp_path: Path) -> None:
    # Given a checkpoint without a self-test, which is loaded as ever
    folder = random_checkpoint(tmp_path / "toy")
    checkpoint = load_checkpoint(folder)
    assert checkpoint.self_test is None
    # When it is given one, and saved
    made = make_self_test(checkpoint.network, checkpoint.tokenizer, vectors())
    save_checkpoint(folder, replace(checkpoint, self_test=made))
    loaded = load_checkpoint(folder).self_test
    # Then it is there
    assert loaded is not None
    assert loaded.expected == made.expected
    assert torch.equal(loaded.vectors, made.vectors)
    # And other weights in the same folder do not inherit it
    save_checkpoint(folder, checkpoint)
    assert load_checkpoint(folder).self_test is None


def test_an_older_checkpoint_is_given_one_from_a_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = random_checkpoint(tmp_path / "toy")
    np.save(tmp_path / "toys.npy", vectors())
    with pytest.raises(SystemExit) as ended:
        main(["add-self-test", f"{folder}/", str(tmp_path / "toys.npy")])
    assert ended.value.code == 0
    made = load_checkpoint(folder).self_test
    assert made is not None
    assert capsys.readouterr().err.splitlines()[0].endswith(made.expected.rows[0].text)
