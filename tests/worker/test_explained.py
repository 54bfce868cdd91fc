"""How the text of a single row came about: told where a job asks for it, and never at the price of the row."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import DIM
from tests.models.decoder import toy
from tests.worker.stubs import StubDecoder
from unembed.corpus import encode_payload
from unembed.models.decoder.candidates import Candidate
from unembed.models.decoder.explanation import Explanation, TextPiece
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.store import Store
from unembed.schemas import DecodeOptions, JobCreate, JobState
from unembed.worker.context import Context
from unembed.worker.runtime import Decoders
from unembed.worker.tasks import run


class Explaining(StubDecoder):
    """It tells something, or fails at it."""

    fails = False

    def explain(self, vector: Any, index: int, options: DecodeOptions, seed: int) -> Explanation:
        assert (vector.shape, vector.dtype, index, seed) == ((DIM,), np.float32, 0, 3)
        if self.fails:
            raise RuntimeError("for a test")
        return Explanation((Candidate("text 0", 1.5, "stub"),), (TextPiece("text", 0.5),))


def submit(store: Store, context: Context, rows: int = 1, *, explains: bool = True) -> str:
    data = encode_payload(np.ones((rows, DIM), np.float32))
    job, _ = store.jobs.create(JobCreate(embedding_dim=DIM, seed=3), explains=explains)
    batch, _ = store.jobs.add_batch(job.id, 0, 0, rows, len(data), hashlib.sha256(data).hexdigest())
    context.payloads.put(batch.id, data)
    store.jobs.seal(job.id, 1, rows)
    return job.id


def test_a_job_that_asks_is_told_what_its_row_might_have_been(store: Store, context: Context) -> None:
    # Given a job of one row that asks, and a decoder that can tell
    context = replace(context, decoders=Decoders(lambda _: Explaining()))
    job = submit(store, context)
    assert store.figures.explained(job) is None
    # When it is decoded, Then what the decoder tells is kept with the batch
    run(f"{job}-0", context)
    assert store.figures.explained(job) == {
        "candidates": [{"text": "text 0", "score": 1.5, "source": "stub", "round_trip": None}],
        "pieces": [{"text": "text", "probability": 0.5}],
    }


@pytest.mark.parametrize("case", ["it does not ask", "it has two rows", "its decoder cannot", "its decoder fails"])
def test_otherwise_nothing_is_told_and_the_rows_are_there(store: Store, context: Context, case: str) -> None:
    decoder = StubDecoder() if case == "its decoder cannot" else Explaining()
    if isinstance(decoder, Explaining):
        decoder.fails = case == "its decoder fails"
    context = replace(context, decoders=Decoders(lambda _: decoder))
    job = submit(store, context, 2 if case == "it has two rows" else 1, explains=case != "it does not ask")
    run(f"{job}-0", context)
    assert store.figures.explained(job) is None
    assert store.jobs.get(job).state is JobState.SUCCEEDED


def test_pieces_are_those_of_the_text_and_the_first_candidate_is_the_answer(tmp_path: Path) -> None:
    # Given a network, and rows that it decodes
    decoder = GenerativeDecoder.load(toy.random_checkpoint(tmp_path / "toy"), "cpu")
    options = DecodeOptions(candidates=4)
    for index, vector in enumerate(toy.vectors()[:5]):
        answer = decoder.decode_rows(vector[None], [index], options, 0).rows.to_pylist()[0]
        # When one is explained
        told = decoder.explain(vector, index, options, 0)
        # Then it is the same text, put together of the pieces, each with a probability
        assert told.candidates[0].text == answer["text"]
        assert len(told.candidates) <= 4
        assert len(told.pieces) == answer["tokens"]
        assert all(0 < piece.probability <= 1 for piece in told.pieces)
        assert "".join(piece.text for piece in told.pieces).replace("⇧", "").lower() == answer["text"].lower()
