"""What a worker opens is what its settings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.decoder.toy import random_checkpoint
from unembed.models.settings import Settings
from unembed.schemas import Precision
from unembed.worker.context import open_context


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_worker_decodes_in_the_precision_of_its_settings(
    precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given settings that name a precision, which this machine may have no instructions for
    random_checkpoint(tmp_path / "toy")
    monkeypatch.setenv("UNEMBED_DECODERS", str(tmp_path))
    settings = Settings(database_url=f"sqlite:///{tmp_path}/none.db", device="cpu", precision=precision)
    # When the worker loads a decoder
    context = open_context(settings, "cpu0@here", 1)
    decoder = context.decoders.get("toy")
    # Then it computes in that one
    assert (decoder.device, decoder.precision) == ("cpu", precision)
