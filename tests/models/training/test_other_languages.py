"""A decoder for another script, from the texts to edits of what it decodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.models.decoder.toy import RECIPE, small_network
from tests.models.training.test_sketch import embeddings
from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.tokenizer import REPLACEMENT
from unembed.models.evaluation.analysis import analyse
from unembed.models.evaluation.measure import measure
from unembed.models.evaluation.page import Subject, render
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.recipe import Progress
from unembed.models.training.run import Plan, train_decoder
from unembed.schemas import DecodeOptions

RUSSIAN = [
    f"{subject} {verb} {thing}{end}"
    for subject in ("Я", "Ёжик", "Наша Анна", "«Чайка»")
    for verb in ("видит", "съест ещё", "не любит")
    for thing in ("этот чай", "объезд у реки", "город Орёл", "Берлин — и Щецин", "её йогурт")
    for end in (".", "?", "!", " сегодня.")
]


def quiet(progress: Progress) -> None:
    pass


def test_a_russian_decoder_is_trained_edits_and_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given Russian texts with their vectors, and a toy network
    monkeypatch.setattr(NetworkConfig, "of", small_network(NetworkConfig.of))
    vectors = embeddings(RUSSIAN, dim=16)
    (tmp_path / "t.txt").write_text("\n".join(RUSSIAN) + "\n", encoding="utf-8")
    np.save(tmp_path / "t.npy", vectors)
    texts = TextSet("ру", tmp_path / "t.txt", tmp_path / "t.npy")
    plan = Plan(
        name="russian", folder=tmp_path / "russian", train=(texts,), dev=(texts,), encoder=None, licence="CC0",
        recipe=replace(RECIPE, epochs=60, batch_pieces=1024), max_pieces=64, score_rows=0, dev_rows=8,
    )  # fmt: skip
    # When it is trained
    assert train_decoder(plan, lambda line: None, quiet)

    # Then its pieces write every text, and its sketch knows the words, with the capitals of names alone
    decoder = GenerativeDecoder.load(tmp_path / "russian")
    pieces, sketch = decoder.checkpoint.tokenizer, decoder.checkpoint.sketch
    assert pieces.decode_many(pieces.encode_many(RUSSIAN)) == RUSSIAN
    assert sketch is not None
    assert {"Орёл", "Берлин", "ёжик", "съест", "йогурт", "«", "»", "—"} <= set(sketch.words)
    # And what it decodes, with edits and without, can be read, has words in common, and is judged
    rows = vectors[::7]
    references = RUSSIAN[::7]
    for options in (DecodeOptions(), DecodeOptions(edits=1)):
        measured = measure(decoder, references, rows, None, options)
        assert REPLACEMENT not in "".join(row.text or "" for row in measured.generations)
        assert measured.scores.word_f1 > 0.5
        assert all(0.0 <= (row.overall_quality or 0.0) <= 1.0 for row in measured.generations)
    # And the report shows it
    page = render(Subject.of(decoder, DecodeOptions(), 0), [analyse("ру", references, measured)], "unembed evaluate")
    assert "Ёжик" in page
