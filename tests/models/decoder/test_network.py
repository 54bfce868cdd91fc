"""RET v2.1 and v2.0: their parameters, part by part, and their two ways of being run."""

from __future__ import annotations

import pytest
import torch

from models.decoder.config import NetworkConfig
from models.decoder.engine import Cache
from models.decoder.ret import RET, count_parts
from tests.models.decoder.toy import random_network
from unembed.errors import UnknownArchitectureError

PARTS_AT_768 = {
    "bridge": 196_608,
    "bridge_norm": 512,
    "pieces": 65_536,
    "attention": 262_144,
    "mlp": 196_608,
    "layer_norms": 1_024,
    "final_norm": 512,
}
V2_AT_768 = {
    "bridge": 768 * 512,
    "bridge_norm": 2 * 512,
    "pieces": 1000 * 512,
    "attention": 3 * (512 * 3 * 192 + 192 * 512),
    "mlp": 3 * (512 * 288 + 288 * 512),
    "layer_norms": 3 * 4 * 512,
    "final_norm": 2 * 512,
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


def test_the_parts_of_v2_at_768_dimensions_add_up_to_2_977_792() -> None:
    config = NetworkConfig.of("resource_efficient_v2", embedding_dim=768)
    network = RET(config)
    assert config.parts() == V2_AT_768
    assert count_parts(network) == V2_AT_768
    assert sum(V2_AT_768.values()) == 2_977_792
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_977_792
    assert (config.hidden_dim, config.layers, config.heads, config.vocab_size) == (512, 3, 4, 1000)


def test_its_three_layers_have_weights_of_their_own() -> None:
    first, second, third = RET(NetworkConfig.of("resource_efficient_v2", embedding_dim=8)).layers
    assert len({layer.qkv.weight.data_ptr() for layer in (first, second, third)}) == 3


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"hidden_dim": 100, "heads": 3}, "hidden_dim is 100, which 3 heads do not divide"),
        ({"heads": 2, "head_dim": 7}, "a head is 7 wide; expected an even number"),
    ],
)
def test_heads_that_cannot_be_turned_are_refused(numbers: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkConfig.of(**numbers)


def test_a_name_that_is_no_network_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownArchitectureError, match="'phrase_bank'; there are: resource_efficient_v21, resource_ef"):
        NetworkConfig.of("phrase_bank")


def test_more_passes_cost_no_parameters() -> None:
    assert NetworkConfig(passes=4).parameters == NetworkConfig(passes=1).parameters


@pytest.mark.parametrize(
    "shape", [{}, {"passes": 3}, {"layers": 3, "heads": 4, "head_dim": 6}, {"layers": 2, "passes": 2}]
)
def test_step_by_step_with_the_cache_equals_the_whole_text_at_once(shape: dict[str, int]) -> None:
    # Given a network with weights in every part, some embeddings and some pieces
    network = random_network(**shape)
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
