"""The generation loop: the fast path against the plain one, and what it does not spend."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.decoder.toy import random_network
from unembed.models.decoder.engine import generate, log_likelihood
from unembed.models.decoder.ret import RET, Cache
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.tokenizer import END
from unembed.schemas import DecodeOptions

GREEDY = Sampler(DecodeOptions(), 0)
SAMPLED = Sampler(DecodeOptions(temperature=1.0), 5)
LIMIT = 20


def embeddings(count: int) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(4))


def eager_to_end() -> RET:
    """A network whose rows, sampled, end at different lengths: END is likelier than in a random one."""
    network = random_network()
    with torch.no_grad():
        network.pieces.weight[END] *= 2.0
    return network


def plainly(network: RET, vector: Tensor, sampler: Sampler, row: int, limit: int) -> list[int]:
    """One row, the whole text again for each piece: slow and obviously right."""
    ids: list[int] = []
    while len(ids) < limit:
        history = torch.tensor([ids], dtype=torch.int64)
        logits = network(vector[None], history)[:, -1]
        ids.append(int(sampler.choose(logits, history, sampler.keys(torch.tensor([row])), len(ids))))
        if ids[-1] == END:
            break
    return ids


@torch.no_grad()
@pytest.mark.parametrize("sampler", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_cached_batched_loop_writes_what_the_plain_one_writes(sampler: Sampler) -> None:
    network, vectors = eager_to_end(), embeddings(40)
    generated = generate(network, vectors, sampler, sampler.keys(torch.arange(40)), LIMIT)
    fast = [ids[:n] for ids, n in zip(generated.ids.tolist(), generated.lengths.tolist(), strict=True)]
    assert fast == [plainly(network, vector, sampler, row, LIMIT) for row, vector in enumerate(vectors)]


def test_rows_that_are_sampled_end_at_many_lengths() -> None:
    generated = generate(eager_to_end(), embeddings(40), SAMPLED, SAMPLED.keys(torch.arange(40)), LIMIT)
    assert len(set(generated.lengths.tolist())) > 5, "the tests around this one would prove little"


@pytest.mark.parametrize("sampler", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_batch_of_one_equals_a_batch_of_many(sampler: Sampler) -> None:
    network, vectors = eager_to_end(), embeddings(24)
    together = generate(network, vectors, sampler, sampler.keys(torch.arange(24)), LIMIT)
    for row in range(24):
        alone = generate(network, vectors[row : row + 1], sampler, sampler.keys(torch.tensor([row])), LIMIT)
        length = int(alone.lengths[0])
        assert int(together.lengths[row]) == length
        assert together.ids[row, :length].tolist() == alone.ids[0, :length].tolist()


def test_rows_that_have_ended_are_not_computed_further() -> None:
    # Given a network that counts the rows of each step
    network = eager_to_end()
    sizes: list[int] = []
    step = network.step

    def counted(reading: Tensor, ids: Tensor | None, cache: Cache, position: int) -> Tensor:
        sizes.append(len(reading))
        return step(reading, ids, cache, position)

    network.step = counted  # type: ignore[method-assign]
    # When rows end at different positions
    generated = generate(network, embeddings(64), SAMPLED, SAMPLED.keys(torch.arange(64)), LIMIT)
    # Then at most an eighth of a step's rows had ended, and the loop stopped with the last row
    assert len(sizes) == int(generated.lengths.max())
    for position, size in enumerate(sizes):
        open_rows = int((generated.lengths > position).sum())
        assert size - open_rows <= size / 8


def test_a_row_at_the_limit_is_said_to_be_truncated() -> None:
    generated = generate(random_network(), embeddings(8), GREEDY, GREEDY.keys(torch.arange(8)), 3)
    for ids, length, truncated in zip(generated.ids, generated.lengths, generated.truncated, strict=True):
        assert bool(truncated) == (int(length) == 3 and int(ids[2]) != END)


@torch.no_grad()
def test_log_probabilities_of_the_loop_are_those_of_the_whole_text() -> None:
    network, vectors = eager_to_end(), embeddings(16)
    generated = generate(network, vectors, SAMPLED, SAMPLED.keys(torch.arange(16)), LIMIT)
    means = generated.log_probs.sum(dim=1) / generated.lengths
    torch.testing.assert_close(log_likelihood(network, vectors, generated), means, atol=1e-4, rtol=1e-4)


def test_no_rows_give_no_rows() -> None:
    generated = generate(random_network(), embeddings(0), GREEDY, GREEDY.keys(torch.arange(0)), LIMIT)
    assert generated.ids.shape[0] == 0
