"""A sketch is fitted to pairs of text and embedding, in any language, and finds what made the embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from unembed.errors import InputError
from unembed.models.decoder.sketch import END, START, Fit, bag_sums
from unembed.models.decoder.vectors import Vectors
from unembed.models.decoder.words import keys
from unembed.models.training import chunks
from unembed.models.training import sketch as fitting
from unembed.models.training.sketch import BLOCK, Extent, Regression, directions, fit_sketch, metric_of
from unembed.models.training.vocabulary import Vocabulary

DIM = 48
ENGLISH = [
    f"{subject} {verb} {thing}{end}"
    for subject in ("I", "Tom", "She", "We", "They", "My sister")
    for verb in ("see", "like", "sold", "never want", "paint")
    for thing in ("the sea", "a red car", "an old house", "some bread")
    for end in (".", "?", "!")
]
GERMAN = [
    f"{subject} {verb} {thing}, {again}."
    for subject in ("Der Bäcker", "Die Frau", "Mein Vater", "Ein Mädchen")
    for verb in ("sieht", "mag", "verkauft", "übermalt", "öffnet")
    for thing in ("die Straße", "das Haus", "einen Apfel")
    for again in ("weil es regnet", "oder auch nicht", "sagt er", "wie früher")
]
JAPANESE = [
    f"{subject}{thing}{verb}。"
    for subject in ("私は", "彼は", "彼女は", "先生は", "母は", "犬は")
    for thing in ("海を", "赤い車を", "古い家を", "パンを", "水を", "本を")
    for verb in ("見る", "買った", "好きだ", "描きたい", "忘れた", "探す")
]


def embeddings(texts: Sequence[str], seed: int = 0, dim: int = DIM) -> Vectors:
    """What a linear encoder gives (N, dim): the sum of a vector for each word, the marks of the ends among them."""
    generator = np.random.default_rng(seed)
    of: dict[str, Vectors] = {}
    rows = []
    for text in texts:
        words = ["start", *keys(text), "end"]
        rows.append(sum(of.setdefault(word, generator.normal(size=dim).astype(np.float32)) for word in words))
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize("texts", [ENGLISH, GERMAN, JAPANESE], ids=["English", "German", "Japanese"])
def test_a_linear_encoder_is_recovered_in_any_language(texts: list[str]) -> None:
    # Given embeddings that are sums of words' vectors, When a sketch is fitted
    said: list[str] = []
    vectors = embeddings(texts) * np.float32(7)
    made = fit_sketch(texts, vectors, say=said.append)
    # Then it estimates them nearly as they are, also those that were held out
    assert made.fit.cosine > 0.98
    assert made.cosines(texts, vectors).mean() > 0.98
    assert made.rank == DIM
    assert made.metric.shape == (DIM, DIM)
    # And texts are judged by it as well
    assert made.nearness(texts, made.queries(vectors)).mean() > 0.97
    assert made.fault(DIM) is None
    # And it says what it was made of
    assert (made.fit.texts, made.fit.held_out) == (len(texts), len(texts) // 4)
    # And what it does
    assert [line.split(":")[0] for line in said] == [
        "choosing the ridge of the sketch", "  ridge 3", "  ridge 1", "  ridge 0.3", "fitting the sketch",
    ]  # fmt: skip
    assert f"of {len(texts):,} texts, {DIM} directions" in said[-1]


def test_pairs_tell_what_words_alone_cannot() -> None:
    # Given embeddings in which "red" and "car" together mean another thing, When it is fitted with pairs and without
    vectors = embeddings(ENGLISH)
    vectors[["red car" in text for text in ENGLISH]] += np.random.default_rng(9).normal(size=DIM) * 3
    vectors[["some bread" in text for text in ENGLISH]] = embeddings(["other"], seed=4)[0]
    alone = fit_sketch(ENGLISH, vectors, Extent(least_pair=10**6))
    both = fit_sketch(ENGLISH, vectors, Extent(least_pair=5))
    # Then pairs estimate better
    assert len(alone.pairs) == 0
    assert both.fit.cosine > alone.fit.cosine


def problem_of(texts: Sequence[str], vectors: Vectors, rank: int, least_pair: int = 10) -> Regression:
    rows = np.arange(len(texts))
    return Regression.of(texts, vectors, rows, Vocabulary.of(texts, 3, least_pair), directions(vectors, rows, rank))


def dense_solution(problem: Regression, ridge: float) -> Vectors:
    """By the normal equations, written out."""
    counts = np.zeros((len(problem.targets), problem.vocabulary.rows))
    for text, (begin, end) in enumerate(zip(problem.bags.offsets[:-1], problem.bags.offsets[1:], strict=True)):
        np.add.at(counts[text], problem.bags.ids[begin:end], 1)
    weighted = counts * problem.weights.numpy()
    solved = np.linalg.solve(
        counts.T @ weighted + ridge * np.eye(counts.shape[1]), weighted.T @ problem.targets.numpy().astype(np.float64)
    )
    return np.asarray(solved, dtype=np.float32)


def test_conjugate_gradients_find_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given more columns than are solved for at a time, and more texts than are looked at at a time
    monkeypatch.setattr(chunks, "SIZE", 37)
    monkeypatch.setattr(fitting, "RESIDUAL", 1e-6)
    vectors = embeddings(ENGLISH, dim=BLOCK + 20)
    problem = problem_of(ENGLISH, vectors, BLOCK + 20)
    # When they are solved for, from nothing and from the solution of another ridge
    table = problem.solve(0.5)
    again = problem.solve(0.5, problem.solve(2.0))
    # Then both are what the equations say
    expected = dense_solution(problem, 0.5)
    length = np.linalg.norm(expected)
    assert np.linalg.norm(table.numpy() - expected) < 0.01 * length
    assert np.linalg.norm(again.numpy() - expected) < 0.01 * length
    # And less exactly, as it is fitted, the texts' sketches are as good
    monkeypatch.undo()
    sums = [bag_sums(torch.from_numpy(one), problem.bags) for one in (problem.solve(0.5).numpy(), expected)]
    assert torch.cosine_similarity(*sums).min() > 0.999
    # And in one part it is the same problem
    whole = problem_of(ENGLISH, vectors, BLOCK + 20)
    assert whole.bags.ids.tolist() == problem.bags.ids.tolist()
    assert whole.vocabulary.words == problem.vocabulary.words
    assert whole.vocabulary.pairs.tolist() == problem.vocabulary.pairs.tolist()


def test_the_directions_are_orthonormal_and_hold_the_most_of_the_embeddings() -> None:
    # Given embeddings with more in some directions than in others, When half of the directions are kept
    vectors = embeddings(ENGLISH) * np.geomspace(1, 0.01, DIM, dtype=np.float32)
    problem = problem_of(ENGLISH, vectors, DIM // 2)
    # Then they are at right angles, and next to nothing is lost
    assert torch.allclose(problem.basis.T @ problem.basis, torch.eye(DIM // 2), atol=1e-5)
    assert problem.targets.norm(dim=1).mean() > 0.99
    # And each carries about as much as any other
    shares = problem.targets.square().mean(dim=0)
    assert shares.max() < 20 * shares.min()


def test_where_the_sketch_errs_much_counts_for_little() -> None:
    # Given errors that are large in one direction and small in another, and embeddings that are short in a third
    generator = torch.Generator().manual_seed(0)
    errors = torch.randn((500, 8), generator=generator) * torch.tensor([10.0, 1, 1, 1, 1, 1, 1, 0.1])
    embeddings = torch.randn((900, 8), generator=generator) * torch.tensor([1.0, 1, 1e-3, 1, 1, 1, 1, 1])
    # When the metric is made, Then it shortens the first, and lengthens the second
    lengths = np.linalg.norm(metric_of(errors, embeddings).astype(np.float64), axis=1)
    assert lengths[0] < 0.5 * lengths[1] < lengths[7]
    # And the third is what is left out when not all directions are kept
    fewer = metric_of(errors, embeddings, judging=7)
    assert fewer.shape == (8, 7)
    assert np.linalg.norm(fewer[2].astype(np.float64)) < 0.1 * lengths[2]
    # And a sketch without errors has a metric too
    assert np.isfinite(metric_of(torch.zeros((9, 8)), embeddings)).all()


def test_what_all_texts_have_in_common_survives_four_bits() -> None:
    # Given a table in which the start, which every text has, is long, and the end is short
    problem = problem_of(ENGLISH, embeddings(ENGLISH), DIM)
    table = 0.01 * torch.randn((problem.vocabulary.rows, DIM), generator=torch.Generator().manual_seed(0))
    table[START] *= 300.0
    # When it is packed
    packed = problem.sketch(table, Fit(texts=1, ridge=1.0, held_out=0, cosine=0.0)).table
    # Then both together are as they were, though each is not
    both = table[START] + table[END]
    assert np.linalg.norm(packed[START] + packed[END] - both.numpy()) < 0.03 * both.norm()
    assert np.linalg.norm(packed[START] - table[START].numpy()) > 0.05 * both.norm()


def test_embeddings_of_half_precision_and_of_a_large_length_will_do() -> None:
    vectors = embeddings(ENGLISH)
    plain = fit_sketch(ENGLISH, vectors)
    for given in (vectors.astype(np.float16), vectors * np.float32(1e20)):
        made = fit_sketch(ENGLISH, given)
        assert abs(made.fit.cosine - plain.fit.cosine) < 0.01


def test_rows_that_are_no_embeddings_are_left_out() -> None:
    vectors = embeddings(ENGLISH)
    vectors[3], vectors[8, 2] = 0.0, np.nan
    made = fit_sketch(ENGLISH, vectors)
    assert made.fit.texts == len(ENGLISH) - 2
    assert np.isfinite(made.table).all()


@pytest.mark.parametrize("count", [0, 199])
def test_too_few_texts_are_refused_with_how_many_are_expected(count: int) -> None:
    with pytest.raises(InputError, match=rf"fitted to {count} texts with embeddings; expected at least 200"):
        fit_sketch(ENGLISH[:count], embeddings(ENGLISH)[:count])


@pytest.mark.parametrize(("most", "rank"), [(2500, 16), (4500, 18), (6000, 26), (20_000, 32)])
def test_it_is_as_large_as_it_may_be(most: int, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a limit for its size
    monkeypatch.setattr(fitting, "LEAST_RANK", 16)
    vectors = embeddings(ENGLISH, dim=32)
    # When it is fitted
    made = fit_sketch(ENGLISH, vectors, Extent(least_pair=5, most_bytes=most))
    # Then it keeps to the limit, with fewer directions, and below the least number of them with fewer words and pairs
    everything = Vocabulary.of(ENGLISH, 3, 5).rows
    assert 0.75 * min(most, 7000) < made.bytes <= most
    assert made.rank == rank
    assert (len(made.words) + len(made.pairs) < everything) == (most == 2500)
    assert made.fault(32) is None


def test_a_vocabulary_knows_what_was_seen_often_enough() -> None:
    texts = ["The man sees the Rhine.", "The Rhine! The NATO?", "Sadly the man left. Sadly, NATO", "NATO"]
    made = Vocabulary.of(texts, least_word=2, least_pair=2)
    # Then each word is written as within a sentence, where it was seen within one, the commonest first
    assert made.words == ("^", "$", "the", "NATO", ".", "man", "Rhine", "sadly")
    pairs = [(made.words[left], made.words[right]) for left, right in made.pairs]
    assert pairs == [("^", "the"), ("the", "man"), ("the", "Rhine"), ("NATO", "$")]
    # And how likely each is among all words and ends, and each pair's second word after its first
    words = 6 + 6 + 8 + 1 + 4
    likely = [1, 4 / words, 5 / words, 3 / words, 2 / words, 2 / words, 2 / words, 2 / words]
    assert np.exp(made.log_probs).tolist() == pytest.approx([*likely, 2 / 4, 2 / 5, 2 / 5, 2 / 3])
    # And the marks, which every text has, are never left out, and pairs only as long as both of their words are there
    few = made.within(7, 1.0)
    assert few.words == ("^", "$", "the", "NATO", ".", "man", "Rhine")
    assert len(few.pairs) == 0
    assert made.within(made.rows, 1.0) is made
    assert made.within(2, 1.0).words == ("^", "$")


def test_an_end_and_the_start_of_the_next_text_are_no_pair() -> None:
    made = Vocabulary.of(["a b"] * 5, least_word=1, least_pair=1)
    assert START not in made.pairs[:, 1].tolist()
    assert len(made.pairs) == 3
