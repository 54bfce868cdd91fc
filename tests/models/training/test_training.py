"""`unembed train`: it learns, it can be stopped and taken up again, and its card says what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.decoder.toy import RECIPE, TEXTS, config, pairs, small_network, tokenizer, vectors
from unembed.corpus.texts import read_texts
from unembed.errors import CheckpointError, InputError
from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.generative import GenerativeDecoder
from unembed.models.decoder.ret import RET
from unembed.models.decoder.tokenizer import Tokenizer
from unembed.models.evaluation.text_sets import TextSet
from unembed.models.training.data import Pairs, check_alphabet, epoch_batches, pair
from unembed.models.training.evened import Even
from unembed.models.training.loop import Run, disturb
from unembed.models.training.optimiser import learning_rate
from unembed.models.training.plan import Plan
from unembed.models.training.recipe import Check, Progress
from unembed.models.training.run import train_decoder


def quiet(progress: Progress) -> None:
    pass


def test_every_text_is_seen_once_a_pass_in_batches_within_the_limit() -> None:
    lengths = np.random.default_rng(0).integers(2, 40, size=500)
    batches = list(epoch_batches(lengths, 400, np.random.default_rng(1)))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(len(rows) * lengths[rows].max() <= 400 for rows in batches)


def test_texts_that_are_too_long_are_left_out_and_counted() -> None:
    kept, left_out = pair(["I see.", "I see the red car. I sold the old house."], vectors(2), tokenizer(), 12)
    assert len(kept) == 1
    assert left_out == 1


def test_texts_and_embeddings_must_agree_in_number() -> None:
    with pytest.raises(InputError, match=r"36 texts need embeddings of shape \(36, dim\), not \(3, 16\)"):
        pair(TEXTS, vectors(3), tokenizer(), 32)


def test_a_script_of_thousands_of_characters_is_refused_and_a_few_rare_ones_are_not() -> None:
    # Given texts of 400 characters, all as common, and pieces that have room for a few
    texts = ["".join(chr(0x4E00 + 10 * row + place) for place in range(10)) for row in range(40)]
    pieces = Tokenizer.train(texts, vocab_size=48)
    # When they are to be learnt, Then they are refused, with the numbers
    told = r"8\d% of the texts' pieces would be unreadable: the texts have 400 different characters, and \d+ pieces"
    with pytest.raises(InputError, match=told):
        check_alphabet(pair(texts, vectors(40), pieces, 32)[0], texts, pieces)
    # And texts with a few such characters are not
    assert 0 < check_alphabet(pair([*TEXTS, "a 漢 b"], vectors(37), tokenizer(), 32)[0], TEXTS, tokenizer()) < 0.01


def test_an_empty_line_is_refused_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one\n\nthree\n")
    with pytest.raises(InputError, match="line 2 is empty"):
        read_texts(tmp_path / "t.txt")


def test_noise_and_dropout_are_within_their_bounds() -> None:
    unit = torch.nn.functional.normalize(torch.randn(4000, 16), dim=-1)
    disturbed = disturb(unit, noise=0.1, dropout=0.25, seed=1)
    dropped = ~disturbed.any(dim=-1)
    assert float(dropped.float().mean()) == pytest.approx(0.25, abs=0.04)  # five standard deviations
    assert float((disturbed - unit)[~dropped].norm(dim=-1).max()) <= 0.1001


def test_the_learning_rate_rises_over_the_warm_up_or_a_tenth_of_a_short_run() -> None:
    # Given a long run of 10,000 steps and a short one of 100, When the rate of each step is asked for
    long, short = ([learning_rate(step, step / steps, 1.0, 200) for step in range(steps)] for steps in (10_000, 100))
    # Then the long one rises over its 200 steps, the short one over 10, and both fall to 2 %
    assert np.argmax(long) == 199
    assert np.argmax(short) == 10
    assert min(long[200:]) == pytest.approx(0.02, abs=0.001)
    assert short[-1] == pytest.approx(0.02, abs=0.001)


def test_it_learns(tmp_path: Path) -> None:
    lines: list[Progress] = []
    run = Run(tmp_path, config(), RECIPE)
    run.train(pairs(), {"same": pairs()}, lines.append, report_every=20)
    assert lines[-1].loss < 0.5 * lines[0].loss
    assert run.finished
    written = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [line["step"] for line in written] == [line.step for line in lines]


@pytest.mark.parametrize("even", [None, Even.of(vectors())], ids=["plain", "even"])
def test_a_run_that_was_stopped_ends_where_it_would_have_ended(tmp_path: Path, even: Even | None) -> None:
    # Given a run that went through, and one that was stopped after 25 steps
    through = Run(tmp_path / "a", config(), RECIPE, even=even)
    through.train(pairs(), {}, quiet)
    stopped = Run(tmp_path / "b", config(), RECIPE, even=even)
    stopped.train(pairs(), {}, quiet, stop=lambda: stopped.step >= 25)
    assert not stopped.finished
    # When another process takes it up
    again = Run(tmp_path / "b", config(), RECIPE, even=even)
    assert again.resume()
    assert again.step == 25
    again.train(pairs(), {}, quiet)
    # Then the weights and their average are the same, bit by bit
    assert again.finished
    for ours, theirs in zip(again.network.parameters(), through.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for name, average in again.average.weights.items():
        assert torch.equal(average, through.average.weights[name])


def test_a_run_is_not_taken_up_with_another_recipe(tmp_path: Path) -> None:
    run = Run(tmp_path, config(), RECIPE)
    run.train(pairs(), {}, quiet, stop=lambda: True)
    with pytest.raises(CheckpointError, match="was started with the recipe"):
        Run(tmp_path, config(), replace(RECIPE, noise=0.5)).resume()


def test_what_is_learnt_in_even_coordinates_is_a_plain_network(tmp_path: Path) -> None:
    # Given a run in even coordinates
    run = Run(tmp_path, config(), RECIPE, even=Even.of(vectors()))
    run.train(pairs(), {}, quiet)
    # Then its averaged weights have the names that a checkpoint has, and do what is learnt
    made = run.averaged()
    assert list(made.state_dict()) == list(RET(config()).state_dict())
    learnt = run.average.weights["bridge.parametrizations.weight.original"]
    assert torch.allclose(made.bridge.weight, learnt @ Even.of(vectors()).into, atol=1e-5)


def test_a_run_of_a_version_that_trained_otherwise_is_not_taken_up(tmp_path: Path) -> None:
    Run(tmp_path, config(), RECIPE).train(pairs(), {}, quiet, stop=lambda: True)
    with pytest.raises(CheckpointError, match="was started by a version that trains otherwise; use another folder"):
        Run(tmp_path, config(), RECIPE, even=Even.of(vectors())).resume()


def test_from_texts_to_a_calibrated_checkpoint_with_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given texts with their vectors, and a toy network
    monkeypatch.setattr(NetworkConfig, "of", small_network(NetworkConfig.of))
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(tmp_path / "t.npy", vectors())
    texts = TextSet("toys", tmp_path / "t.txt", tmp_path / "t.npy")
    plan = Plan(
        name="toy", folder=tmp_path / "toy", train=(texts,), dev=(texts,), encoder=None, licence="CC0",
        recipe=replace(RECIPE, epochs=400, embedding_dropout=0.1), max_pieces=40,
    )  # fmt: skip
    # When it is trained
    said: list[str] = []
    assert train_decoder(plan, said.append, quiet)
    # Then there is a decoder that reads back what it learnt, and says how sure it is
    decoder = GenerativeDecoder.load(tmp_path / "toy")
    answers = decoder.batch_generate(vectors())
    assert sum(answer["text"] == text for answer, text in zip(answers, TEXTS, strict=True)) > 18
    assert all(0.0 <= answer["quality_metrics"]["overall_quality"] <= 1.0 for answer in answers)
    # And the card's figures are those of the scores file
    record = json.loads((tmp_path / "toy" / "scores.json").read_text())
    card = (tmp_path / "toy" / "README.md").read_text()
    by_default, greedily = card.split("Decoded greedily")
    assert f"| toys | 36 | {record['scores']['toys']['bleu']:.1f} |" in by_default
    assert f"| toys | 36 | {record['greedy_scores']['toys']['bleu']:.1f} |" in greedily
    assert "CC0" in card
    assert "toys: 36 lines" in card
    assert f"--set toys={tmp_path}/t.txt,{tmp_path}/t.npy" in card
    assert "| toys | 36 | `" in card
    # And a self-test, made from the first of the held-out vectors
    kept = decoder.checkpoint.self_test
    assert kept is not None
    assert [row.text for row in kept.expected.rows] == [answer["text"] for answer in answers[:8]]
    # And no model of real vectors, since 36 are too few, which was said
    assert decoder.checkpoint.manifold is None
    assert any("off the manifold: 36 vectors are too few" in line for line in said)
    # And no sketch, for the same reason
    assert decoder.checkpoint.sketch is None
    assert any("no sketch: a sketch cannot be fitted to 36 texts" in line for line in said)
    assert "## Sketch" not in card
    # And a second call has nothing left to do but to export
    assert train_decoder(plan, said.append, quiet)


def test_held_out_vectors_of_another_dimension_are_refused(tmp_path: Path) -> None:
    # Given texts, and held-out ones whose vectors are longer
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(tmp_path / "t.npy", vectors())
    np.save(tmp_path / "d.npy", vectors(dim=24))
    plan = Plan(
        name="toy", folder=tmp_path / "toy", train=(TextSet("toys", tmp_path / "t.txt", tmp_path / "t.npy"),),
        dev=(TextSet("held", tmp_path / "t.txt", tmp_path / "d.npy"),), encoder=None, licence="CC0", recipe=RECIPE,
    )  # fmt: skip
    # When it is begun, Then it says so before it trains
    with pytest.raises(InputError, match="held has embeddings of 24 dimensions; expected 16"):
        train_decoder(plan, lambda line: None, quiet)


def test_v2_is_trained_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given texts with their vectors, and a toy network with the layers of v2.0
    monkeypatch.setattr(NetworkConfig, "of", small_network(NetworkConfig.of))
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(tmp_path / "t.npy", vectors())
    texts = TextSet("toys", tmp_path / "t.txt", tmp_path / "t.npy")
    plan = Plan(
        name="two", folder=tmp_path / "two", train=(texts,), dev=(), encoder=None, licence="CC0",
        recipe=replace(RECIPE, epochs=3), architecture="resource_efficient_v2", max_pieces=40,
    )  # fmt: skip
    # When it is trained
    assert train_decoder(plan, lambda line: None, quiet)
    # Then what is loaded is of that architecture, and its card tells how to train it again
    decoder = GenerativeDecoder.load(tmp_path / "two")
    network = decoder.checkpoint.config.network
    assert (decoder.architecture, network.layers, network.heads) == ("resource_efficient_v2", 3, 4)
    assert len(decoder.batch_generate(vectors())) == 36
    assert "--architecture resource_efficient_v2" in (tmp_path / "two" / "README.md").read_text()
    # And the run is not taken up as one of v2.1
    with pytest.raises(CheckpointError, match="was started with the network"):
        train_decoder(replace(plan, architecture="resource_efficient_v21"), lambda line: None, quiet)


def test_a_checkpoint_learns_what_real_vectors_look_like_where_there_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a thousand texts, whose vectors leave two of 16 dimensions alone
    monkeypatch.setattr(NetworkConfig, "of", small_network(NetworkConfig.of))
    lines = (TEXTS * 28)[:1000]
    (tmp_path / "t.txt").write_text("\n".join(lines) + "\n")
    given = vectors(1000) * np.r_[np.ones(14), np.full(2, 0.001)].astype(np.float32)
    np.save(tmp_path / "t.npy", given)
    plan = Plan(
        name="toy", folder=tmp_path / "toy", train=(TextSet("toys", tmp_path / "t.txt", tmp_path / "t.npy"),), dev=(),
        encoder=None, licence="CC0", recipe=replace(RECIPE, epochs=1), max_pieces=40, check=Check.NO,
    )  # fmt: skip
    # When a network is trained on them
    assert train_decoder(plan, lambda line: None, quiet)
    # Then it knows vectors that do not, and its card tells of that
    decoder = GenerativeDecoder.load(tmp_path / "toy")
    off = [answer["off_manifold"] for answer in decoder.batch_generate(np.concatenate([given[:50], vectors(50)]))]
    assert sum(off[:50]) <= 3
    assert sum(off[50:]) >= 47
    card = (tmp_path / "toy" / "README.md").read_text()
    assert "## Vectors off the manifold" in card
    # And it has a sketch of all texts, of which its card tells too
    sketch = decoder.checkpoint.sketch
    assert sketch is not None
    assert sketch.fit.texts == 1000
    assert f"fitted to 1,000 texts with a ridge of {sketch.fit.ridge:g}. When 200 of them were held out" in card
    assert f"their embeddings was {sketch.fit.cosine:.3f}" in card


def test_texts_made_are_seen_until_the_last_fifth_of_a_run(tmp_path: Path) -> None:
    # Given twelve texts and twenty-four made of them, seen a text at a time
    texts, made = first(12), last(24)
    run = SeenRun(tmp_path, config(), replace(RECIPE, epochs=5, batch_pieces=32))
    # When the run goes through
    run.train(texts, {}, quiet, made=made)
    # Then the last fifth of its steps saw the texts alone, and the steps before saw both
    end = len(run.seen)
    assert run.plain_from == pytest.approx(0.8 * end, abs=1)
    of_texts = {row.tobytes() for row in texts.embeddings}
    before = [batch for batch in run.seen[: run.plain_from] if not batch <= of_texts]
    assert len(before) > 0.5 * run.plain_from
    assert all(batch <= of_texts for batch in run.seen[run.plain_from :])


def test_a_run_with_texts_made_that_was_stopped_ends_where_it_would_have_ended(tmp_path: Path) -> None:
    # Given a run that went through, and others that were stopped before, at and after the change to the texts alone
    recipe = replace(RECIPE, epochs=20)
    through = Run(tmp_path / "a", config(), recipe)
    through.train(first(12), {}, quiet, made=last(24))
    change = through.plain_from
    assert change is not None
    for place in (change - 1, change, change + 1):
        stopped = Run(tmp_path / f"{place}", config(), recipe)
        stopped.train(first(12), {}, quiet, made=last(24), stop=lambda run=stopped, place=place: run.step >= place)
        # When another process takes it up
        again = Run(tmp_path / f"{place}", config(), recipe)
        assert again.resume()
        again.train(first(12), {}, quiet, made=last(24))
        # Then the weights are the same, bit by bit
        assert again.plain_from == change
        for ours, theirs in zip(again.network.parameters(), through.network.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_texts_cannot_be_made_without_an_encoder(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(tmp_path / "t.npy", vectors())
    texts = TextSet("toys", tmp_path / "t.txt", tmp_path / "t.npy")
    plan = Plan(
        name="toy", folder=tmp_path / "toy", train=(texts,), dev=(), encoder=None, licence="CC0",
        recipe=replace(RECIPE, augment=1.5),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"augment is 1\.5, but there is no encoder to embed new texts"):
        train_decoder(plan, lambda text: None, quiet)


def test_an_encoder_of_another_dimension_cannot_embed_texts_made(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(TEXTS) + "\n")
    np.save(tmp_path / "t.npy", vectors())
    texts = TextSet("toys", tmp_path / "t.txt", tmp_path / "t.npy")
    plan = Plan(
        name="toy", folder=tmp_path / "toy", train=(texts,), dev=(), encoder="all-MiniLM-L6-v2", licence="CC0",
        recipe=replace(RECIPE, augment=1.5),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"embeds new texts in 384 dimensions; expected 16"):
        train_decoder(plan, lambda text: None, quiet)


class SeenRun(Run):
    """Keeps which embeddings each step saw."""

    seen: list[set[bytes]]

    def _step(self, embeddings: torch.Tensor, ids: torch.Tensor, progress: float) -> torch.Tensor:
        if not self.step:
            self.seen = []
        self.seen.append({row.numpy().tobytes() for row in embeddings})
        return super()._step(embeddings, ids, progress)


def first(count: int) -> Pairs:
    return pair(TEXTS[:count], vectors()[:count], tokenizer(), 32)[0]


def last(count: int) -> Pairs:
    return pair(TEXTS[-count:], vectors()[-count:], tokenizer(), 32)[0]
