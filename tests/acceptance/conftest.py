"""What the acceptance tests are made on: the trained decoder that ships, the example sentences, and a real stack."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from tests.flow.conftest import environment
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.evaluation.scores import decode_all
from unembed.schemas import DEFAULT_DECODER, GREEDY, Generation

if TYPE_CHECKING:
    from unembed.worker.launch import Stack

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "docs" / "benchmarks" / "decoders-cpu.json"

Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """600 sentences that the decoder was not trained on."""
    return [str(text) for text in pq.read_table(ROOT / "examples" / "sentences.parquet")["text"].to_pylist()]


@pytest.fixture(scope="session")
def vectors() -> Vectors:
    """Their embeddings (600, 384)."""
    column = pq.read_table(ROOT / "examples" / "sentences.parquet")["embedding"]
    return np.stack(column.to_numpy()).astype(np.float32)


@pytest.fixture
def decoder() -> GenerativeDecoder:
    """The decoder that ships, in float32 on every machine."""
    return GenerativeDecoder.load(DEFAULT_DECODER, "cpu", "float32")


@pytest.fixture(scope="session")
def decoded(vectors: Vectors) -> list[Generation]:
    """What it makes of the examples, greedily, in float32."""
    return decode_all(GenerativeDecoder.load(DEFAULT_DECODER, "cpu", "float32"), vectors, GREEDY)


@pytest.fixture(scope="session")
def record() -> dict[str, Any]:
    """What `make compare` measured when it was last run and committed."""
    return json.loads(RECORD.read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """API, Redis, SQLite and two workers, as processes of their own."""
    from unembed.worker.launch import Stack

    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            patch.delenv(name)
        for name, value in environment(tmp_path_factory.mktemp("decoders")).items():
            patch.setenv(name, value)
        running = Stack(tmp_path_factory.mktemp("home"), workers=2)
        running.__enter__()
    try:
        yield running
    finally:
        running.__exit__(None, None, None)
