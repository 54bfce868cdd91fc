"""Even coordinates: what a network computes stays, and embeddings vary alike in all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models.decoder.toy import DIM, pairs, random_network, vectors
from unembed.models.training.evened import Even, evened


def lopsided(count: int, dim: int = DIM) -> np.ndarray:
    """Embeddings with a long mean, that vary most in the first directions."""
    lengths = np.geomspace(1.0, 0.01, dim)
    return (vectors(count, dim) * lengths + np.eye(dim)[0] * 2.0).astype(np.float32)


def test_a_network_computes_the_same_within_and_afterwards() -> None:
    # Given a network, and what it says of embeddings
    network, some = random_network(), pairs()
    embeddings, ids = some.batch(np.arange(8))
    before, names = network(embeddings, ids), list(network.state_dict())
    # When it is evened, Then it says the same
    with torch.no_grad(), evened(network, lopsided(50)):
        assert torch.allclose(network(embeddings, ids), before, atol=1e-4)
    # And so it does afterwards, under the names that its weights had
    assert torch.allclose(network(embeddings, ids), before, atol=1e-4)
    assert list(network.state_dict()) == names


def test_embeddings_vary_alike_in_all_even_directions() -> None:
    given = lopsided(4000)
    read = given / np.linalg.norm(given, axis=1, keepdims=True) * np.sqrt(DIM)
    even = read @ Even.of(given).into.numpy()
    spread = lambda some: np.linalg.eigvalsh(np.cov(some.T))  # noqa: E731
    assert spread(read)[-1] / spread(read)[0] > 1000
    assert spread(even)[-1] / spread(even)[DIM // 2] < 3


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_embeddings_than_directions_are_enough(count: int) -> None:
    even = Even.of(lopsided(count))
    assert torch.isfinite(even.into).all()
    assert torch.allclose(even.into @ even.back, torch.eye(DIM), atol=1e-2)
