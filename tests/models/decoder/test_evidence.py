"""What is measured of the texts that are kept is what each part says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.models.decoder.test_sketch import SKETCH
from tests.models.decoder.toy import config, random_network, tokenizer, vectors
from unembed.models.decoder.checkpoint import Checkpoint, save_checkpoint
from unembed.models.decoder.config import CheckpointConfig
from unembed.models.decoder.evidence import evidence_of
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.rank import Ranked
from unembed.schemas import GREEDY, DecodeOptions

ROWS = np.arange(5)


def decoder(folder: Path, *, sketched: bool) -> GenerativeDecoder:
    made = Checkpoint(CheckpointConfig(name="toy", network=config()), random_network(), tokenizer())
    save_checkpoint(folder, replace(made, sketch=SKETCH if sketched else None))
    return GenerativeDecoder.load(folder, device="cpu")


def test_the_sketch_says_how_near_the_text_of_each_row_is(tmp_path: Path) -> None:
    # Given rows that are decoded by a decoder with a sketch
    scored = decoder(tmp_path / "toy", sketched=True).decode_batch(vectors(5), ROWS, DecodeOptions(edits=1), 0)
    evidence, texts = scored.evidence, scored.texts
    # Then their cosines are those of the sketch
    assert evidence.sketch == pytest.approx(SKETCH.cosines(texts, vectors(5)), abs=1e-6)
    assert evidence.nearness == pytest.approx(SKETCH.nearness(texts, SKETCH.queries(vectors(5))), abs=1e-6)
    # And they were chosen among several
    assert (evidence.candidates > 1).all()


def test_neighbours_that_the_sketch_knows_are_counted_and_a_text_without_known_words_is_no_error(
    tmp_path: Path,
) -> None:
    # Given texts whose neighbours are partly known, none of whose are, and one without a known word
    made = decoder(tmp_path / "toy", sketched=True)
    found = made.decode_batch(vectors(4), np.arange(4), GREEDY, 0).ranked
    texts = ("the Tom sees", "Tom .", "sees the", "odd")
    given = Ranked(replace(found.best, texts=texts), found.scores[:4], None)
    # When they are measured
    evidence = evidence_of(given, vectors(4), made._engine, SKETCH)
    # Then each has the share of its pairs that is known; the ends of a text are neighbours too
    assert evidence.known_pairs == pytest.approx([3 / 4, 2 / 3, 0.0, 0.0])
    assert evidence.unknown_words is not None
    assert evidence.unknown_words.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert evidence.sketch is not None
    assert (evidence.sketch[3], evidence.sketch_length[3]) == (0.0, 0.0)  # type: ignore[index]
    assert not (evidence.candidates > 1).any()


def test_without_a_sketch_nothing_is_known_of_it(tmp_path: Path) -> None:
    evidence = decoder(tmp_path / "toy", sketched=False).decode_batch(vectors(5), ROWS, GREEDY, 0).evidence
    assert (evidence.sketch, evidence.nearness, evidence.sketch_length, evidence.known_pairs) == (None,) * 4
