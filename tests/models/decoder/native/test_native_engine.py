"""The engine in C++ writes what torch's plain loops write: token by token, whatever the options and the shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from tests.models.decoder.native.conftest import Native
from tests.models.decoder.toy import DIM, random_network
from unembed.models.decoder.beam import beam_search
from unembed.models.decoder.checkpoint import load_checkpoint
from unembed.models.decoder.engine import Generated, generate, piece_log_probs
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import END, PAD
from unembed.schemas import DEFAULT_DECODER, DecodeOptions

EXAMPLES = Path(__file__).parents[4] / "examples" / "sentences.parquet"
LIMIT = 20
NATS = 1e-4  # how far two float32 log-probabilities of a piece may be apart: sums in another order
OPTIONS = [
    DecodeOptions(repetition_penalty=1.0),
    DecodeOptions(),
    DecodeOptions(repetition_penalty=3.0),
    DecodeOptions(no_repeat_ngram=1),
    DecodeOptions(no_repeat_ngram=3),
    DecodeOptions(temperature=1.0),
    DecodeOptions(temperature=0.5, top_k=7),
    DecodeOptions(temperature=1.3, top_p=0.8),
    DecodeOptions(temperature=0.9, min_p=0.05, no_repeat_ngram=2),
    DecodeOptions(temperature=1.0, top_k=30, top_p=0.95, min_p=0.01),
]
# Widths that are no multiple of a vector, an odd number of heads, and one without gates.
SHAPES = [
    {},
    {"hidden_dim": 36, "heads": 3, "mlp_dim": 50, "gated_units": 7, "vocab_size": 61},
    {"hidden_dim": 80, "heads": 1, "head_dim": 70, "mlp_dim": 130, "gated_units": 130, "vocab_size": 300},
]


def random_vectors(count: int, dim: int = DIM, seed: int = 4) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def lively(**changes: int) -> RET:
    """A random network whose rows end at different lengths: END is likelier than it would be."""
    network = random_network(**changes)
    with torch.no_grad():
        network.pieces.weight[END] *= 2.0
    return network


def assert_same(found: Generated, expected: Generated) -> None:
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.lengths.tolist() == expected.lengths.tolist()
    torch.testing.assert_close(found.log_probs, expected.log_probs, atol=NATS, rtol=NATS)


def both(
    native: Native, network: RET, vectors: Tensor, options: DecodeOptions, limit: int = LIMIT
) -> tuple[Generated, Generated]:
    sampler = Sampler(options, 5)
    keys = sampler.keys(torch.arange(len(vectors)))
    return native(network).generate(vectors, sampler, keys, limit), generate(network, vectors, sampler, keys, limit)


@pytest.mark.parametrize("shape", SHAPES, ids=["toy", "odd", "one head"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: str(options.model_dump(exclude_defaults=True)))
def test_each_option_gives_the_texts_of_the_plain_loop(
    native: Native, options: DecodeOptions, shape: dict[str, int]
) -> None:
    assert_same(*both(native, lively(**shape), random_vectors(70), options))


@pytest.mark.parametrize("limit", [1, 2, 31, 32])
def test_the_limit_cuts_texts_where_the_plain_loop_cuts_them(native: Native, limit: int) -> None:
    assert_same(*both(native, lively(), random_vectors(20), DecodeOptions(), limit))


@pytest.mark.parametrize("count", [0, 1, 5, 17, 18, 19, 200])
def test_any_number_of_rows_is_decoded(native: Native, count: int) -> None:
    assert_same(*both(native, lively(), random_vectors(count), DecodeOptions(temperature=1.0)))


def test_the_decoder_that_ships_writes_the_same_texts(native: Native) -> None:
    # Given the example sentences' embeddings, noise, which is the embedding of nothing, and lengths from 1e-30 to 1e30
    network = load_checkpoint(DEFAULT_DECODER).network
    real = np.stack(pq.read_table(EXAMPLES)["embedding"].to_numpy()).astype(np.float32)
    noise = random_vectors(40, 384)
    scales = torch.tensor([1e-30, 1e-12, 1e12, 1e30])[:, None]
    vectors = torch.cat([torch.from_numpy(real[:200]), noise, torch.from_numpy(real[:4]) * scales, torch.eye(384)[:8]])
    # Then both write the same, and a vector's length changes nothing
    found, expected = both(native, network, vectors, DecodeOptions(), network.config.max_pieces)
    assert_same(found, expected)
    assert found.ids[240:244].tolist() == found.ids[:4].tolist()


@pytest.mark.parametrize("options", [DecodeOptions(), DecodeOptions(temperature=1.0)], ids=["greedy", "sampled"])
def test_a_row_is_the_same_to_the_last_bit_whatever_it_is_decoded_with(
    native: Native, options: DecodeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, sampler, vectors = native(lively()), Sampler(options, 5), random_vectors(60)
    keys = sampler.keys(torch.arange(60))
    together = engine.generate(vectors, sampler, keys, LIMIT)
    for row in range(0, 60, 7):
        alone = engine.generate(vectors[row : row + 1], sampler, keys[row : row + 1], LIMIT)
        length = int(alone.lengths[0])
        assert alone.ids[0].tolist() == together.ids[row, :length].tolist()
        assert alone.log_probs[0].tolist() == together.log_probs[row, :length].tolist()
    # Nor does it matter how many threads share the rows
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    shared = engine.generate(vectors, sampler, keys, LIMIT)
    assert shared.ids.tolist() == together.ids.tolist()
    assert shared.log_probs.tolist() == together.log_probs.tolist()


@pytest.mark.parametrize("shape", SHAPES, ids=["toy", "odd", "one head"])
@pytest.mark.parametrize(
    "options",
    [
        DecodeOptions(candidates=1, beams=2),
        DecodeOptions(candidates=1, beams=5, repetition_penalty=1.0, length_penalty=0.0),
        DecodeOptions(candidates=1, beams=16, no_repeat_ngram=2),
        DecodeOptions(candidates=1, beams=64, length_penalty=2.0),
    ],
    ids=lambda options: str(options.model_dump(exclude_defaults=True)),
)
def test_beams_are_those_of_the_plain_search(native: Native, options: DecodeOptions, shape: dict[str, int]) -> None:
    network, vectors = lively(**shape), random_vectors(9)
    assert_same(native(network).beams(vectors, options, LIMIT), beam_search(network, vectors, options, LIMIT))


def test_beams_at_the_limit_and_beams_without_a_text_are_those_of_the_plain_search(native: Native) -> None:
    network, vectors = random_network(), random_vectors(3)
    for beams, limit in ((64, 1), (3, 2), (4, 32)):
        options = DecodeOptions(candidates=1, beams=beams)
        assert_same(native(network).beams(vectors, options, limit), beam_search(network, vectors, options, limit))
    assert native(network).beams(random_vectors(0), DecodeOptions(candidates=1, beams=4), LIMIT).ids.shape[0] == 0


def test_a_row_s_beams_do_not_depend_on_the_batch(native: Native) -> None:
    engine, vectors, options = native(lively()), random_vectors(20), DecodeOptions(candidates=1, beams=4)
    together = engine.beams(vectors, options, LIMIT)
    for row in range(0, 20, 3):
        alone = engine.beams(vectors[row : row + 1], options, LIMIT)
        width = alone.ids.shape[1]
        assert alone.ids.tolist() == together.ids[row * 4 : row * 4 + 4, :width].tolist()
        assert alone.log_probs.tolist() == together.log_probs[row * 4 : row * 4 + 4, :width].tolist()


@pytest.mark.parametrize("shape", SHAPES, ids=["toy", "odd", "one head"])
@pytest.mark.parametrize("alone", [False, True], ids=["with the embedding", "without"])
def test_given_texts_are_as_likely_as_to_the_plain_network(native: Native, alone: bool, shape: dict[str, int]) -> None:
    # Given texts of many lengths, some of them twice, one that begins as another does, one of a single piece
    network, vectors = lively(**shape), random_vectors(90)
    sampler = Sampler(DecodeOptions(temperature=1.0), 5)
    texts = generate(network, vectors, sampler, sampler.keys(torch.arange(90) % 60), LIMIT)
    ids, lengths = texts.ids.clone(), texts.lengths.clone()
    ids[1], lengths[1] = ids[0], max(1, int(lengths[0]) - 1)
    ids[1, lengths[1] :] = PAD
    lengths[2], ids[2, 1:] = 1, PAD
    given = Generated(ids, texts.log_probs, lengths)
    # When they are scored, with their embeddings or without
    found = native(network).piece_log_probs(None if alone else vectors, given)
    expected = piece_log_probs(network, torch.zeros_like(vectors) if alone else vectors, given)
    # Then it is what the network says of the whole texts
    torch.testing.assert_close(found, expected, atol=NATS, rtol=NATS)


def test_scoring_what_it_wrote_gives_what_it_said(native: Native) -> None:
    engine, sampler, vectors = native(lively()), Sampler(DecodeOptions(temperature=1.0), 5), random_vectors(50)
    written = engine.generate(vectors, sampler, sampler.keys(torch.arange(50)), LIMIT)
    assert engine.piece_log_probs(vectors, written).tolist() == written.log_probs.tolist()


def test_no_texts_have_no_likelihood(native: Native) -> None:
    nothing = Generated(torch.empty((0, 0), dtype=torch.int64), torch.empty((0, 0)), torch.empty(0, dtype=torch.int64))
    assert native(lively()).piece_log_probs(None, nothing).shape == (0, 0)


@pytest.mark.parametrize("limit", [0, 34, 4096])
def test_a_limit_that_the_network_does_not_have_is_refused(native: Native, limit: int) -> None:
    sampler = Sampler(DecodeOptions(), 0)
    with pytest.raises(ValueError, match=f"max_pieces is {limit}; expected 1 to 33"):
        native(lively()).generate(random_vectors(1), sampler, sampler.keys(torch.arange(1)), limit)


@torch.no_grad()
def test_in_bfloat16_texts_are_nearly_as_likely(native: Native) -> None:
    # Given what the decoder that ships writes in float32
    network = load_checkpoint(DEFAULT_DECODER).network
    vectors = torch.from_numpy(np.stack(pq.read_table(EXAMPLES)["embedding"].to_numpy()[:150]).astype(np.float32))
    sampler = Sampler(DecodeOptions(), 0)
    keys, longest = sampler.keys(torch.arange(150)), network.config.max_pieces
    exact = native(network).generate(vectors, sampler, keys, longest)
    # When the same texts are scored in bfloat16, Then they are as likely to a few hundredths of a nat a piece
    coarse = native(network, torch.bfloat16)
    off = (coarse.piece_log_probs(vectors, exact) - exact.log_probs).abs()
    assert float(off.sum() / exact.lengths.sum()) < 0.02
    # And most rows are decoded into the same text; the others part where two pieces were as good as tied
    found = coarse.generate(vectors, sampler, keys, longest)
    width = min(found.ids.shape[1], exact.ids.shape[1])
    same = (found.ids[:, :width] == exact.ids[:, :width]).all(dim=1)
    assert float(same.float().mean()) > 0.75
