import numpy as np
import pytest
import torch

from unembed.errors import InputError
from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.ret import RET
from unembed.models.training.adapt.composed import compose
from unembed.models.training.adapt.linear_map import fit_map

RANDOM = np.random.default_rng(0)


def spaces(texts: int, theirs: int = 40, ours: int = 24, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings by two embedders that see the same 16 features of a text, each with a mean and noise of its own."""
    features = RANDOM.normal(size=(texts, 16))
    made = []
    for dim in (theirs, ours):
        turn = np.random.default_rng(dim).normal(size=(16, dim))
        mean = np.random.default_rng(dim + 1).normal(size=dim)
        rows = features @ turn + 2.0 * mean + noise * RANDOM.normal(size=(texts, dim))
        made.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    return made[0], made[1]


@pytest.mark.parametrize("texts", [30, 600])  # fewer than dimensions, and more
def test_what_is_said_of_a_map_holds_for_texts_that_it_has_not_seen(texts: int) -> None:
    # Given pairs of two embedders, and others
    theirs, ours = spaces(texts + 500)
    # When a map is fitted to some
    mapped = fit_map(theirs[:texts], ours[:texts])
    # Then its cosine on the others is the one that it says, and it is far above that of other texts
    found = float((mapped(theirs[texts:]) * ours[texts:]).sum(axis=1).mean())
    assert mapped.cosine == pytest.approx(found, abs=0.05)
    assert mapped.cosine > mapped.apart + 0.3


def test_predictions_without_a_text_are_those_of_a_fit_without_it() -> None:
    theirs, ours = spaces(60)
    mapped = fit_map(theirs, ours)
    # The ridge of the fit without the text is chosen anew, and its mean is another: nearly the same
    without = fit_map(theirs[1:], ours[1:])
    assert float(without(theirs[:1])[0] @ mapped.left_out[0]) > 0.98


def test_embeddings_of_many_dimensions_are_mapped_by_their_longest_directions() -> None:
    theirs, ours = spaces(1100, theirs=1100)
    assert fit_map(theirs, ours).cosine > 0.9


def test_a_map_is_multiplied_into_a_network() -> None:
    # Given a network with gates, and a map into its space
    theirs, ours = spaces(200)
    mapped = fit_map(theirs, ours)
    torch.manual_seed(0)
    network = RET(NetworkConfig(embedding_dim=24, hidden_dim=32, mlp_dim=16, gated_units=8, max_pieces=8)).eval()
    assert network.gate is not None
    torch.nn.init.normal_(network.gate.weight, std=0.02)
    # When it is composed
    composed = compose(network, mapped)
    # Then it reads their vectors as the network reads mapped ones, but for the length that gates know
    reading, expected = composed.read(torch.from_numpy(theirs)), network.read(torch.from_numpy(mapped(theirs)))
    torch.testing.assert_close(reading[:, :32], expected[:, :32], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(reading[:, 32:], expected[:, 32:], atol=0.2, rtol=0.3)


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        (np.ones((20, 8), np.float32), "all the same"),
        (RANDOM.normal(size=(5, 8)).astype(np.float32), "at least 10"),
        (RANDOM.normal(size=(19, 8)).astype(np.float32), "the same texts"),
    ],
)
def test_what_no_map_can_be_learnt_from_is_refused(theirs: np.ndarray, says: str) -> None:
    ours = RANDOM.normal(size=(5 if len(theirs) == 5 else 20, 6)).astype(np.float32)
    with pytest.raises(InputError, match=says):
        fit_map(theirs, ours)
