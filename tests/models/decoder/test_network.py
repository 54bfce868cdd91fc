"""RET v2.1: its parameters, part by part, and its two ways of being run."""

from __future__ import annotations

import pytest
import torch

from models.decoder.config import NetworkConfig
from models.decoder.engine import Cache
from models.decoder.ret import RET, count_parts
from tests.models.decoder.toy import random_network

PARTS_AT_768 = {
    "bridge": 196_608,
    "bridge_norm": 512,
    "pieces": 65_536,
    "attention": 262_144,
    "mlp": 196_608,
    "layer_norms": 1_024,
    "final_norm": 512,
}


def test_the_parts_of_the_network_at_768_dimensions_add_up_to_722_944() -> None:
    network = RET(NetworkConfig(embedding_dim=768))
    assert count_parts(network) == PARTS_AT_768
    assert sum(PARTS_AT_768.values()) == 722_944
    assert sum(parameter.numel() for parameter in network.parameters()) == 722_944


@pytest.mark.parametrize(("dim", "total"), [(384, 624_640), (768, 722_944), (1024, 788_480)])
def test_the_config_knows_the_sizes_without_building_the_network(dim: int, total: int) -> None:
    config = NetworkConfig(embedding_dim=dim)
    assert config.parts() == count_parts(RET(config))
    assert config.parameters == total


def test_more_passes_cost_no_parameters() -> None:
    assert NetworkConfig(passes=4).parameters == NetworkConfig(passes=1).parameters


@pytest.mark.parametrize("passes", [1, 3])
def test_step_by_step_with_the_cache_equals_the_whole_text_at_once(passes: int) -> None:
    # Given a network with weights in every part, some embeddings and some pieces
    network = random_network(passes=passes)
    embeddings = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(3, 48, (5, 9), generator=torch.Generator().manual_seed(2))
    # When the logits are computed at once, and position by position
    with torch.no_grad():
        at_once = network(embeddings, ids)
        context = network.bridge_embedding(embeddings)
        cache = Cache.empty(network.config, 5, 10, context)
        steps = [network.step(context, None, cache, 0)]
        steps += [network.step(context, ids[:, t], cache, t + 1) for t in range(9)]
    # Then they agree
    torch.testing.assert_close(torch.stack(steps, dim=1), at_once, atol=1e-4, rtol=1e-4)


def test_a_piece_does_not_see_those_after_it() -> None:
    network = random_network()
    embeddings = torch.randn(1, 16)
    ids = torch.randint(3, 48, (1, 8))
    changed = ids.clone()
    changed[0, 5] = 3 + (changed[0, 5] - 2) % 45
    with torch.no_grad():
        before, after = network(embeddings, ids), network(embeddings, changed)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_zeros_mean_no_embedding_and_length_does_not_matter() -> None:
    network = random_network()
    vector = torch.randn(1, 16)
    with torch.no_grad():
        assert not network.bridge_embedding(torch.zeros(1, 16)).any()
        torch.testing.assert_close(network.bridge_embedding(vector), network.bridge_embedding(vector * 7.0))
