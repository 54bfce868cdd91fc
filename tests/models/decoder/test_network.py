"""RET v2.1 and v2.0: their parameters, part by part, and their two ways of being run."""

from __future__ import annotations

import pytest
import torch

from tests.models.decoder.toy import random_network
from unembed.errors import UnknownArchitectureError
from unembed.models.decoder.config import NetworkConfig
from unembed.models.decoder.engine import Cache
from unembed.models.decoder.ret import RET, count_parts

PARTS_AT_768 = {
    "bridge": 196_608,
    "bridge_norm": 512,
    "gate": 0,
    "pieces": 65_536,
    "attention": 262_144,
    "mlp": 196_608,
    "layer_norms": 1_024,
    "final_norm": 512,
}
V2_AT_768 = {
    "bridge": 768 * 512,
    "bridge_norm": 2 * 512,
    "gate": 0,
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


@pytest.mark.parametrize(
    ("dim", "gated", "total"),
    [
        (128, 384, 608_256),  # no more units are there
        (384, 256, 722_944),
        (500, 137, 722_836),
        (768, 0, 722_944),
        (1024, 0, 788_480),
    ],
)
def test_what_a_smaller_bridge_leaves_of_722_944_parameters_goes_to_the_gates(dim: int, gated: int, total: int) -> None:
    config = NetworkConfig.of(embedding_dim=dim)
    assert (config.gated_units, config.parameters) == (gated, total)
    assert config.parts() == count_parts(RET(config))


def test_a_config_that_does_not_speak_of_gates_has_none_as_checkpoints_before_them() -> None:
    assert NetworkConfig.model_validate({"embedding_dim": 384}).parameters == 624_640


def test_gates_are_as_many_as_one_says() -> None:
    assert NetworkConfig.of(embedding_dim=384, gated_units=0).parameters == 624_640
    assert NetworkConfig.of(embedding_dim=384, gated_units=100).parameters == 624_640 + 384 * 100


def test_more_gates_than_units_are_refused() -> None:
    with pytest.raises(ValueError, match="gated_units is 385; expected at most the 384 of the MLP"):
        NetworkConfig.of(gated_units=385)


def test_gates_begin_without_effect() -> None:
    # Given a network, and the same with gates
    plain = random_network()
    gated = RET(plain.config.model_copy(update={"gated_units": 7}))
    gated.load_state_dict(plain.state_dict(), strict=False)
    # When both read the same / Then they answer the same
    embeddings, ids = torch.randn(3, 16), torch.randint(3, 48, (3, 6))
    with torch.no_grad():
        torch.testing.assert_close(gated(embeddings, ids), plain(embeddings, ids))


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
    "shape",
    [
        {},
        {"passes": 3},
        {"layers": 3, "heads": 4, "head_dim": 6},
        {"layers": 2, "passes": 2},
        {"gated_units": 9},
        {"gated_units": 32, "layers": 2, "passes": 2},
    ],
)
def test_step_by_step_with_the_cache_equals_the_whole_text_at_once(shape: dict[str, int]) -> None:
    # Given a network with weights in every part, some embeddings and some pieces
    network = random_network(**shape)
    embeddings = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(3, 48, (5, 9), generator=torch.Generator().manual_seed(2))
    # When the logits are computed at once, and position by position
    with torch.no_grad():
        at_once = network(embeddings, ids)
        reading = network.read(embeddings)
        cache = Cache.empty(network.config, 5, 10, reading)
        steps = [network.step(reading, None, cache, 0)]
        steps += [network.step(reading, ids[:, t], cache, t + 1) for t in range(9)]
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


@pytest.mark.parametrize("gated", [0, 9])
def test_zeros_mean_no_embedding_and_length_does_not_matter(gated: int) -> None:
    network = random_network(gated_units=gated)
    vector = torch.randn(1, 16)
    with torch.no_grad():
        assert network.read(vector).shape == (1, network.config.hidden_dim + gated)
        assert not network.read(torch.zeros(1, 16)).any()
        torch.testing.assert_close(network.read(vector), network.read(vector * 7.0))
