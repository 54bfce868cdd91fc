"""The decoders that there are, as their folders say."""

from __future__ import annotations

from pathlib import Path

import pytest

from unembed.errors import CheckpointError
from unembed.models.decoder import catalog
from unembed.models.decoder.config import CheckpointConfig, NetworkConfig


def _write(folder: Path, encoder: str) -> None:
    config = CheckpointConfig(name="mine", network=NetworkConfig(embedding_dim=4), encoder=encoder)
    (folder / "config.json").write_text(config.model_dump_json())


def test_a_config_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a decoder that somebody has asked for
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv("UNEMBED_DECODERS", str(tmp_path))
    _write(folder, "one")
    assert catalog.find("mine").encoder == "one"
    # When it is asked for again, Then its config is not read again
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read"))
        assert catalog.find("mine").encoder == "one"
    # And when it is replaced by a longer one, is damaged, or goes, then that is seen
    _write(folder, "another")
    assert catalog.find("mine").encoder == "another"
    (folder / "config.json").write_text("{}}")
    with pytest.raises(CheckpointError, match="not a checkpoint's config"):
        catalog.find("mine")
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        catalog.read_config(folder)
