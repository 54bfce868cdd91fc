"""A damaged checkpoint is refused with the file's name and the reason; pickles are never read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.models.decoder.toy import random_checkpoint, random_network, tokenizer
from unembed.errors import CheckpointError, UnknownDecoderError
from unembed.models.decoder import catalog
from unembed.models.decoder.catalog import SHIPPED
from unembed.models.decoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from unembed.models.decoder.config import CheckpointConfig, NetworkConfig
from unembed.models.decoder.ret import RET
from unembed.schemas import DEFAULT_DECODER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_checkpoint(tmp_path / "toy")


def test_a_folder_without_a_config_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_checkpoint(tmp_path)


def test_a_truncated_weights_file_is_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be loaded"):
        load_checkpoint(folder)


def test_a_pickle_in_the_place_of_the_weights_is_refused_unread(folder: Path, tmp_path: Path) -> None:
    # Given a file that would write another file, were it unpickled
    trap = tmp_path / "sprung"
    (folder / "model.safetensors").write_bytes(f"cpathlib\nPath\n(S'{trap}'\ntR.".encode())
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
    assert not trap.exists()


def test_a_tokenizer_of_another_size_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["network"]["vocab_size"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="has 48 pieces, the network 64"):
        load_checkpoint(folder)


def test_a_network_of_another_shape_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["network"]["hidden_dim"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="size mismatch"):
        load_checkpoint(folder)


def test_a_network_of_several_layers_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    # Given a checkpoint of the kind of v2.0, with weights in every layer
    network = random_network(layers=3, heads=4, head_dim=6)
    settings = CheckpointConfig(name="deep", network=network.config)
    save_checkpoint(tmp_path / "deep", Checkpoint(settings, network, tokenizer()))
    # When it is loaded
    loaded = load_checkpoint(tmp_path / "deep")
    # Then every tensor is there, in the half precision that it was saved in
    ours, theirs = network.state_dict(), loaded.network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value.half().float(), theirs[name]) for name, value in ours.items())
    assert loaded.config == settings


@pytest.mark.parametrize(("name", "dim"), [("ret-v21-minilm", 384), ("ret-v21-e5-small", 384), ("ret-v21-mpnet", 768)])
def test_the_names_in_a_checkpoint_of_v21_are_those_of_the_network_it_is_defined_as(name: str, dim: int) -> None:
    with safe_open(catalog.SHIPPED / name / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    assert names == set(RET(NetworkConfig.of(embedding_dim=dim)).state_dict())
    # What gates did not change since the first release
    assert names - {"gate.weight"} == set(RET(NetworkConfig(embedding_dim=dim)).state_dict())


def test_the_catalogue_finds_shipped_decoders_and_a_users_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNEMBED_DECODERS", str(folder.parent))
    assert catalog.names() == ["ret-v21-e5-small", "ret-v21-minilm", "ret-v21-mpnet", "toy"]
    assert catalog.find("toy").embedding_dim == 16
    assert catalog.find("ret-v21-minilm").encoder == "all-MiniLM-L6-v2"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownDecoderError, match=r"'nope'; there are: ret-v21-e5-small, ret-v21-minilm, ret-v21-mpnet"
    ):
        catalog.find("nope")


@pytest.mark.parametrize("name", ["../toy", "..", ".", "toy/.."])
def test_a_name_cannot_leave_the_catalogue(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNEMBED_DECODERS", str(folder.parent))
    with pytest.raises(UnknownDecoderError):
        catalog.find(name)


def test_whoever_may_read_the_config_may_read_all_of_it(folder: Path) -> None:
    # Given a saved checkpoint, When its files are looked at, Then none is for its owner alone unless all are
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_a_calibration_that_uses_a_sketch_is_not_served_without_one(tmp_path: Path) -> None:
    # Given a checkpoint that is calibrated by its sketch, which has gone astray
    shutil.copytree(SHIPPED / DEFAULT_DECODER, tmp_path / "shipped")
    for name in ("sketch.json", "sketch.safetensors"):
        (tmp_path / "shipped" / name).unlink()
    # When it is loaded, Then that is said, and not only when its first row is decoded
    with pytest.raises(CheckpointError, match="has no sketch, but its calibration uses one"):
        load_checkpoint(tmp_path / "shipped")
