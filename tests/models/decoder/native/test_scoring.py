"""Given texts, several of one embedding: what they share is computed once, and each is as likely as it is by itself."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.models.decoder.native.conftest import Native
from tests.models.decoder.native.test_native_engine import EXAMPLES, NATS, SHAPES, lively, random_vectors
from unembed.models.decoder.checkpoint import load_checkpoint
from unembed.models.decoder.engine import Generated, generate, piece_log_probs
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import END, PAD
from unembed.models.decoder.torch_engine import TorchEngine
from unembed.models.device import Device
from unembed.schemas import DEFAULT_DECODER, DecodeOptions

Pieces = list[int]
ROWS = 5
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])

# Few pieces, so that texts begin alike: equal ones, one that begins another, some without an end, some without pieces.
TEXTS = st.lists(st.sampled_from((4, 5, 6)), max_size=9).flatmap(lambda ids: st.sampled_from([ids, [*ids, END]]))
OWNED = st.lists(st.tuples(st.integers(0, ROWS - 1), TEXTS), min_size=1, max_size=60)
OF_ONE = st.lists(st.tuples(st.just(2), TEXTS), min_size=1, max_size=60)


def written(texts: list[Pieces]) -> Generated:
    longest = max(1, *map(len, texts)) if texts else 1
    ids = torch.tensor([ids + [PAD] * (longest - len(ids)) for ids in texts], dtype=torch.int64).view(-1, longest)
    lengths = torch.tensor([len(ids) for ids in texts], dtype=torch.int64)
    return Generated(ids, torch.zeros(ids.shape), lengths)


def edited(texts: list[Pieces], each: int, seed: int = 1) -> tuple[list[Pieces], Tensor]:
    """Of each text `each` copies, in which a piece was dropped, exchanged or put in; and whose each is."""
    drawn = np.random.default_rng(seed)
    found, owners = [], []
    for owner, text in enumerate(texts):
        for _ in range(each):
            at, kept, piece = int(drawn.integers(len(text))), int(drawn.integers(2)), int(drawn.integers(4, 40))
            found.append([*text[:at], *[piece][: int(drawn.integers(2))], *text[at + kept :]])
            owners.append(owner)
    return found, torch.tensor(owners)


@DTYPES
@pytest.mark.parametrize("shape", SHAPES, ids=["toy", "odd", "one head"])
def test_texts_of_one_embedding_are_as_likely_as_to_the_plain_network(
    native: Native, shape: dict[str, int], dtype: torch.dtype
) -> None:
    # Given edited texts of each of 8 embeddings, and two that have no text
    network, vectors = lively(**shape), random_vectors(10)
    sampler = Sampler(DecodeOptions(temperature=1.0), 5)
    begun = generate(network, vectors[:8], sampler, sampler.keys(torch.arange(8)), 20)
    texts, owners = edited([ids[:n] for ids, n in zip(begun.ids.tolist(), begun.lengths.tolist(), strict=True)], 12)
    # When they are scored together, Then it is what the plain loop says of them
    found = native(network, dtype).piece_log_probs(vectors, written(texts), owners)
    expected = piece_log_probs(network, vectors, written(texts), owners)
    if dtype is torch.float32:
        torch.testing.assert_close(found, expected, atol=NATS, rtol=NATS)
    else:  # and in bfloat16 no further from it than torch is in bfloat16, but for chance
        coarse = TorchEngine(network, Device(torch.device("cpu"), dtype), "it is the reference")
        theirs = (coarse.piece_log_probs(vectors, written(texts), owners) - expected).abs().mean()
        assert float((found - expected).abs().mean()) < 1.5 * float(theirs)


@DTYPES
@given(owned=OWNED | OF_ONE, threads=st.integers(1, 3), seed=st.integers(0, 9))
def test_a_text_is_as_likely_to_the_last_bit_whatever_it_is_scored_with(
    native: Native, dtype: torch.dtype, owned: list[tuple[int, Pieces]], threads: int, seed: int
) -> None:
    # Given texts of some embeddings, in any order
    engine, vectors = native(lively(), dtype), random_vectors(ROWS)
    owners, texts = torch.tensor([owner for owner, _ in owned]), [text for _, text in owned]
    # When they are scored together, on some threads, and each by itself
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: threads)
        together = engine.piece_log_probs(vectors, written(texts), owners)
    alone = [
        engine.piece_log_probs(vectors[owner : owner + 1], written([text]))[0, : len(text)].tolist()
        for owner, text in owned
    ]
    # Then both are the same, in that order and in another one, and there is nothing after an end
    assert [row[: len(text)] for row, text in zip(together.tolist(), texts, strict=True)] == alone
    assert all(not any(row[len(text) :]) for row, text in zip(together.tolist(), texts, strict=True))
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed))
    shuffled = engine.piece_log_probs(vectors, written([texts[at] for at in order.tolist()]), owners[order])
    assert shuffled.tolist() == together[order].tolist()


@given(owned=OWNED)
def test_without_embeddings_it_does_not_matter_whose_a_text_is(native: Native, owned: list[tuple[int, Pieces]]) -> None:
    network = lively()
    owners, texts = torch.tensor([owner for owner, _ in owned]), written([text for _, text in owned])
    found = native(network).piece_log_probs(None, texts, owners)
    expected = piece_log_probs(network, torch.zeros_like(random_vectors(len(owned))), texts)
    torch.testing.assert_close(found, expected, atol=NATS, rtol=NATS)
    assert found.tolist() == native(network).piece_log_probs(None, texts).tolist()


def test_a_hundred_edits_of_one_text_are_as_likely_as_to_the_plain_network(native: Native) -> None:
    # Given a hundred edits of what the decoder that ships writes, each of them twice
    network, vectors = load_checkpoint(DEFAULT_DECODER).network, examples(1)
    sampler = Sampler(DecodeOptions(), 0)
    begun = generate(network, vectors, sampler, sampler.keys(torch.arange(1)), 96)
    texts, owners = edited([begun.ids[0].tolist()], 100)
    # When they are scored, Then it is what the plain loop says, and equal texts are equally likely to the last bit
    found = native(network).piece_log_probs(vectors, written(texts + texts), torch.cat([owners, owners]))
    expected = piece_log_probs(network, vectors, written(texts), owners)
    torch.testing.assert_close(found[:100], expected, atol=NATS, rtol=NATS)
    assert found[:100].tolist() == found[100:].tolist()


def examples(count: int) -> Tensor:
    return torch.from_numpy(np.stack(pq.read_table(EXAMPLES)["embedding"].to_numpy()[:count]).astype(np.float32))


def test_no_texts_of_some_embeddings_have_no_likelihood(native: Native) -> None:
    none, last_and_first = torch.empty(0, dtype=torch.int64), torch.tensor([2, 0])
    for engine in (native(lively()), TorchEngine(lively(), Device(torch.device("cpu"), torch.float32), "a test")):
        assert engine.piece_log_probs(random_vectors(3), written([]), none).shape == (0, 1)
        assert engine.piece_log_probs(random_vectors(3), written([[], []]), last_and_first).tolist() == [[0.0]] * 2


@pytest.mark.parametrize(
    ("owners", "problem"),
    [
        (None, "2 texts have 3 embeddings; expected as many, or owners"),
        ([0, 3], "owners are 0 to 3; expected 0 to 2, rows of the embeddings"),
        ([-1, 0], "owners are -1 to 0; expected 0 to 2, rows of the embeddings"),
        ([0], r"owners have the shape \(1,\); expected \(2,\), one for each text"),
    ],
)
def test_owners_that_there_are_not_are_refused(native: Native, owners: list[int] | None, problem: str) -> None:
    given_owners = None if owners is None else torch.tensor(owners)
    with pytest.raises(ValueError, match=problem):
        native(lively()).piece_log_probs(random_vectors(3), written([[4], [5]]), given_owners)
