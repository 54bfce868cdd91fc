"""A text's sketch is the sum of its words' and pairs' vectors, and it travels with its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tests.models.decoder.toy import DIM, random_checkpoint, vectors
from unembed.errors import CheckpointError
from unembed.models.decoder.checkpoint import load_checkpoint, save_checkpoint
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.sketch import END, START, TABLE_FILE, UNKNOWN, WORDS_FILE, Fit, Sketch, packed, unpacked
from unembed.models.decoder.vectors import Vectors
from unembed.models.decoder.words import keys

RANK, JUDGING = 6, 4
WORDS = ("^", "$", "the", "Tom", "sees", ".", "漢", "字", "$")  # the last is the sign in a text, not the mark
PAIRS = ((START, 2), (START, 3), (2, 3), (3, 4), (5, END), (6, 7))


def toy_sketch(words: tuple[str, ...] = WORDS, pairs: tuple[tuple[int, int], ...] = PAIRS) -> Sketch:
    generator = np.random.default_rng(5)
    rows, scales = packed(generator.normal(size=(len(words) + len(pairs), RANK)).astype(np.float32))
    basis = np.linalg.qr(generator.normal(size=(DIM, RANK)))[0].astype(np.float16)
    metric = generator.normal(size=(RANK, JUDGING)).astype(np.float16)
    priors = -generator.random(len(rows)).astype(np.float16)
    ids = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    return Sketch(words, ids, rows, scales, basis, metric, priors, Fit(texts=9, ridge=1.0, held_out=2, cosine=0.5))


SKETCH = toy_sketch()


def plain_sum(sketch: Sketch, text: str) -> Vectors:
    """As the definition says, word by word."""
    known = {word.lower(): number for number, word in enumerate(sketch.words) if number > END}
    ids = [START, *[known.get(key, UNKNOWN) for key in keys(text)], END]
    total, table = np.zeros(sketch.rank, dtype=np.float32), unpacked(sketch.rows, sketch.scales)
    if all(number == UNKNOWN for number in ids[1:-1]):
        return total
    pairs = [tuple(pair) for pair in sketch.pairs.tolist()]
    rows = [number for number in ids if number != UNKNOWN]
    rows += [len(sketch.words) + pairs.index(pair) for pair in pairwise(ids) if pair in pairs]
    for row in rows:
        total += table[row]
    return total


TEXT = st.lists(st.sampled_from(["the", "Tom", "TOM", "sees", "odd", ".", "漢", "字", "^", "$", " "])).map(" ".join)


@given(st.lists(TEXT))
def test_a_sketch_is_the_sum_of_what_is_known_of_a_text(texts: list[str]) -> None:
    for sketch in (SKETCH, toy_sketch(pairs=())):
        expected = np.array([plain_sum(sketch, text) for text in texts]).reshape(-1, RANK)
        np.testing.assert_allclose(sketch.sums(texts), expected, atol=1e-5)


@given(st.lists(st.text(), max_size=4))
def test_any_text_has_one(texts: list[str]) -> None:
    assert np.isfinite(SKETCH.vectors(texts)).all()
    assert SKETCH.vectors(texts).shape == (len(texts), DIM)


def test_bags_name_words_pairs_and_ends() -> None:
    # Given a text with two known words, one that is not, and none at all
    bags, unknown = SKETCH.bags_and_unknown(["The Tom.", "Odd odd", "", "漢字"])
    # Then each bag has the marks, the words and the pairs that are known, and a text without known words has none
    parts = [sorted(part.tolist()) for part in np.split(bags.ids, bags.offsets[1:-1])]
    pairs = len(WORDS)
    assert parts == [[START, END, 2, 3, 5, pairs, pairs + 2, pairs + 4], [], [], [START, END, 6, 7, pairs + 5]]
    # And the words that are not known are counted
    assert unknown.tolist() == [0, 2, 0, 0]
    assert SKETCH.bags_and_unknown([])[1].tolist() == []


def test_a_word_is_known_however_it_is_written() -> None:
    assert [SKETCH.ids[word] for word in ("Tom", "tom", "TOM", "tOM", "The", "tim", "^", "$")] == [
        3, 3, 3, 3, 2, UNKNOWN, UNKNOWN, 8,
    ]  # fmt: skip


def test_the_cosine_is_that_of_the_vectors_in_all_dimensions() -> None:
    texts = ["the Tom sees.", "Tom", "odd", "漢字"]
    given = vectors(4) * np.float32(1e25)
    # When cosines are found among the K coordinates, Then they are those in E dimensions, up to half precision
    expected = (SKETCH.vectors(texts) * vectors(4)).sum(axis=1)
    np.testing.assert_allclose(SKETCH.cosines(texts, given), expected, atol=2e-3)
    # And vectors are at length 1, but of a text without known words there is none, and its cosine is 0
    np.testing.assert_allclose(np.linalg.norm(SKETCH.vectors(texts), axis=1), [1, 1, 0, 1], atol=1e-5)
    assert SKETCH.cosines(texts, given)[2] == 0


def test_texts_are_judged_by_the_cosine_in_the_space_of_the_metric() -> None:
    texts = ["the Tom sees.", "Tom", "odd", "漢字"]
    # Given embeddings as queries, When texts are judged by them
    queries = SKETCH.queries(vectors(4))
    found = SKETCH.nearness(texts, queries)
    # Then it is the cosine of what the metric makes of the sketches and of the embeddings
    metric = SKETCH.metric.astype(np.float32)
    ours, theirs = SKETCH.sums(texts) @ metric, SKETCH.coordinates(vectors(4)) @ metric
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    expected = np.where(lengths > 0, (ours * theirs).sum(axis=1) / np.maximum(lengths, 1e-9), 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[2] == 0
    assert queries.shape == (4, JUDGING)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)


def test_four_bits_are_off_by_half_a_step() -> None:
    # Given rows of very different lengths, one of them zero, When they are kept at 4 bits
    lengths = np.geomspace(1e-2, 100, 50)[:, None]
    given = np.random.default_rng(1).normal(size=(50, 384)) * lengths
    table = np.concatenate([given, np.zeros((1, 384))]).astype(np.float32)
    rows, scales = packed(table)
    again = unpacked(rows, scales)
    # Then two numbers share a byte, and the zero row stays zero
    assert (rows.shape, rows.dtype) == ((51, 192), np.uint8)
    assert not again[-1].any()
    # And no number within the 16 levels is off by more than half a step and what the scale is moved by
    steps = scales.astype(np.float32)[:, None]
    inside = np.abs(table) <= 7 * steps
    assert inside.mean() > 0.98
    assert (np.abs(again - table)[inside] <= np.broadcast_to(0.75 * steps, table.shape)[inside]).all()
    # And of a row's length a hundredth is lost, as the best 16 levels lose of Gaussian numbers
    assert np.square(again - table).sum() / np.square(table).sum() < 0.013


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = random_checkpoint(tmp_path / "toy")
    save_checkpoint(made, replace(load_checkpoint(made), sketch=SKETCH))
    return made


def test_it_is_saved_with_the_checkpoint(folder: Path) -> None:
    # Given a checkpoint that was saved with a sketch, When it is loaded
    loaded = load_checkpoint(folder).sketch
    # Then it is the same
    assert loaded is not None
    texts = ["the Tom sees.", "Tom", "odd", "漢字 $"]
    assert loaded.sums(texts).tolist() == SKETCH.sums(texts).tolist()
    assert (loaded.words, loaded.fit) == (SKETCH.words, SKETCH.fit)
    assert loaded.queries(vectors()).tolist() == SKETCH.queries(vectors()).tolist()
    assert loaded.priors.tolist() == SKETCH.priors.tolist()
    # And the decoder takes it along when it is saved elsewhere
    elsewhere = GenerativeDecoder.load(folder, "cpu").save_model(folder.parent / "copy")
    assert load_checkpoint(elsewhere).sketch is not None
    # And a checkpoint without one leaves none behind
    save_checkpoint(folder, replace(load_checkpoint(folder), sketch=None))
    assert load_checkpoint(folder).sketch is None
    assert not (folder / TABLE_FILE).exists()
    assert not (folder / WORDS_FILE).exists()


@pytest.mark.parametrize("name", [TABLE_FILE, WORDS_FILE])
def test_half_of_it_is_damage(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"the sketch in .* cannot be read"):
        load_checkpoint(folder)


def cut(folder: Path) -> None:
    path = folder / TABLE_FILE
    path.write_bytes(path.read_bytes()[:-3])


def tensors(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        kept = load_file(folder / TABLE_FILE) | changes
        save_file({name: value for name, value in kept.items() if value is not None}, folder / TABLE_FILE)

    return damage


def described(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        kept = json.loads((folder / WORDS_FILE).read_text())
        (folder / WORDS_FILE).write_text(json.dumps(kept | changes))

    return damage


ROWS = len(WORDS) + len(PAIRS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "cannot be read"),
        (tensors(rows=None), "cannot be read: .*rows"),
        (described(format=2), "cannot be read: .*format"),
        (
            described(words=WORDS[:-1]),
            rf"rows are uint8 of shape \({ROWS}, 3\); expected uint8 of shape \({ROWS - 1}, 3\)",
        ),
        (described(words=[*WORDS[:-1], "tom"]), "its words are not distinct"),
        (described(words=["a", *WORDS[1:]]), r"its words .* do not begin with the marks \^ and \$"),
        (tensors(pairs=np.array(PAIRS)), r"pairs are int64 of shape \(6, 2\); expected int32"),
        (
            tensors(pairs=np.array(PAIRS[::-1], dtype=np.int32)),
            "its pairs are not distinct pairs of its 9 words in order",
        ),
        (tensors(pairs=np.array(((0, 9), *PAIRS[1:]), dtype=np.int32)), "its pairs are not distinct pairs"),
        (tensors(scales=np.full(ROWS, np.nan, dtype=np.float16)), "its scales are not all finite"),
        (tensors(priors=np.ones(ROWS, dtype=np.float16)), "its priors are not all logarithms of probabilities"),
        (tensors(priors=np.zeros(ROWS - 1, dtype=np.float16)), r"priors are float16 of shape \(14,\); .* \(15,\)"),
        (
            tensors(metric=np.ones((RANK + 1, 4), dtype=np.float16)),
            r"metric are float16 of shape \(7, 4\); .* \(6, 4\)",
        ),
        (tensors(metric=np.full((RANK, 4), np.inf, dtype=np.float16)), "its metric is not all finite"),
        (tensors(basis=np.eye(8, RANK, dtype=np.float16)), r"basis are float16 of shape \(8, 6\); .* \(16, 6\)"),
        (tensors(basis=np.ones((DIM, RANK), dtype=np.float16)), "its directions are not at right angles"),
        (tensors(basis=np.full((DIM, RANK), np.nan, dtype=np.float16)), "its directions are not at right angles"),
    ],
)
def test_a_damaged_file_is_refused_with_what_was_expected(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=rf"(?s)the sketch in .*{message}"):
        load_checkpoint(folder)
