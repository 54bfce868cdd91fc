"""The engine of static steps against the plain loop. Here the steps run eagerly; on a GPU they are captured."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from tests.models.decoder.toy import random_network
from unembed.models.decoder import graph_engine
from unembed.models.decoder.cuda_graphs import CudaGraphs
from unembed.models.decoder.engine import Generated, generate, piece_log_probs
from unembed.models.decoder.graph_engine import SHORT, GraphEngine, tried
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler
from unembed.models.decoder.static_step import StaticNetwork, bytes_a_slot
from unembed.models.decoder.tokenizer import END
from unembed.models.device import Device
from unembed.schemas import DecodeOptions

EXACT = Device(torch.device("cpu"), torch.float32)
GREEDY, SAMPLED = DecodeOptions(), DecodeOptions(temperature=1.0)
WAYS = {
    "greedy": GREEDY,
    "plain greedy": DecodeOptions(repetition_penalty=1.0),
    "sampled": SAMPLED,
    "top k": DecodeOptions(temperature=0.8, top_k=5),
    "top p": DecodeOptions(temperature=1.2, top_p=0.8, no_repeat_ngram=2),
    "min p": DecodeOptions(temperature=1.5, min_p=0.05, repetition_penalty=1.3),
}
SHAPES = {
    "one layer": {},
    "gates": {"gated_units": 20},
    "three layers": {"layers": 3, "head_dim": 6},
    "two passes": {"passes": 2, "gated_units": 48},
}


@cache
def network(shape: str = "one layer", max_pieces: int = 48) -> RET:
    """Random, and END likelier than it would be: rows end at many lengths, and some run into the limit."""
    made = random_network(3, max_pieces=max_pieces, **SHAPES[shape])
    with torch.no_grad():
        made.pieces.weight[END] *= 1.5
        for module in made.modules():
            if isinstance(module, torch.nn.LayerNorm):  # norms that do something
                module.weight.normal_(1.0, 0.1)
                module.bias.normal_(0.0, 0.1)
    return made


def embeddings(count: int) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(4))


def both(engine: GraphEngine, of: RET, given: Tensor, options: DecodeOptions, limit: int) -> tuple[Generated, ...]:
    sampler = Sampler(options, 7)
    keys = sampler.keys(torch.arange(len(given)))
    return engine.generate(given, sampler, keys, limit), generate(of, given, sampler, keys, limit)


def check_equal(ours: Generated, plain: Generated) -> None:
    assert ours.lengths.tolist() == plain.lengths.tolist()
    assert ours.ids.tolist() == plain.ids.tolist()
    torch.testing.assert_close(ours.log_probs, plain.log_probs, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_writes_what_the_plain_loop_writes(shape: str, way: str) -> None:
    # Given a network of some shape, and rows of which some end soon and some late
    of = network(shape)
    # When both decode them, Then the pieces are the same and as likely
    ours, plain = both(GraphEngine(of, EXACT), of, embeddings(60), WAYS[way], 48)
    check_equal(ours, plain)


def test_the_rows_of_these_tests_end_in_both_rooms_and_at_the_limit() -> None:
    lengths = both(GraphEngine(network(), EXACT), network(), embeddings(60), SAMPLED, 48)[1].lengths
    assert len(set(lengths.tolist())) > 5, "the tests around this one would prove little"
    assert {bool(kind.any()) for kind in (lengths < SHORT, (lengths > SHORT) & (lengths < 48), lengths == 48)} == {True}


@pytest.mark.parametrize("limit", [1, 7, 8, 9, SHORT, SHORT + 1, 48])
def test_any_limit_is_kept(limit: int) -> None:
    check_equal(*both(GraphEngine(network(), EXACT), network(), embeddings(20), SAMPLED, limit))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 33])
def test_any_number_of_rows_is_decoded(count: int) -> None:
    check_equal(*both(GraphEngine(network(), EXACT), network(), embeddings(count), SAMPLED, 48))


def test_vectors_of_any_size_and_none_at_all_are_read_as_the_plain_loop_reads_them() -> None:
    given = embeddings(6) * torch.tensor([1e30, 1e-30, 1.0, 0.0, 1e10, 1e-3])[:, None]
    check_equal(*both(GraphEngine(network(), EXACT), network(), given, GREEDY, 48))


def test_the_memory_says_how_many_rows_are_decoded_together() -> None:
    # Given budgets for no row, for some and for many
    each = bytes_a_slot(StaticNetwork(network(), torch.float32), SHORT)
    few, some, many = (GraphEngine(network(), EXACT, memory=memory) for memory in (0, 10 * each, 10**9))
    # Then a row is always decoded, and more where there is room
    assert (few.slots(SHORT), some.slots(SHORT)) == (1, 10)
    assert few.slots(48) < some.slots(48) < many.slots(48)
    # And the texts are the same, in whatever parts they are decoded
    for engine in (few, some, many):
        check_equal(*both(engine, network(), embeddings(23), SAMPLED, 48))


def test_an_engine_serves_one_call_after_another() -> None:
    # Given one engine, When calls of other sizes, limits and options follow one another, Then each has its own texts
    engine = GraphEngine(network(), EXACT)
    for count, limit, options in ((5, 48, GREEDY), (40, 20, SAMPLED), (3, 48, WAYS["top k"]), (40, 48, SAMPLED)):
        check_equal(*both(engine, network(), embeddings(count), options, limit))


def test_rows_that_have_ended_leave_when_half_the_slots_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an engine that tells how many slots each of its steps computes
    sizes: list[int] = []
    step = StaticNetwork.step
    monkeypatch.setattr(
        StaticNetwork, "step", lambda self, slots, *rest: (sizes.append(slots.count), step(self, slots, *rest))[1]
    )
    # When 64 rows end one after the other
    ours, _ = both(GraphEngine(network(), EXACT), network(), embeddings(64), SAMPLED, SHORT)
    # Then after each graph there are as few slots as a power of two allows, and none are computed after the last row
    for position, size in enumerate(sizes):
        begun = position - position % graph_engine.STEPS
        left = int((ours.lengths > begun).sum()) if begun else 64
        assert left <= size < 2 * left
    assert len(sizes) - int(ours.lengths.max()) < graph_engine.STEPS


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_in_a_coarser_precision_what_it_writes_is_as_likely_as_it_says(precision: torch.dtype) -> None:
    # Given what the engine writes in a coarser precision
    engine = GraphEngine(network(), Device(torch.device("cpu"), precision))
    ours, _ = both(engine, network(), embeddings(40), SAMPLED, 48)
    # When the plain network, in float32, is asked how likely that is, Then they agree
    exact = piece_log_probs(network(), embeddings(40), ours)
    assert float((exact - ours.log_probs).abs().sum() / ours.lengths.sum()) < 0.05


def test_given_pieces_and_beams_are_the_plain_loops() -> None:
    engine = GraphEngine(network(), EXACT)
    ours, _ = both(engine, network(), embeddings(90), SAMPLED, 48)
    scored = engine.piece_log_probs(embeddings(90), ours)
    torch.testing.assert_close(scored, ours.log_probs, atol=1e-4, rtol=0.0)
    alone = engine.piece_log_probs(None, ours)
    torch.testing.assert_close(alone, piece_log_probs(network(), torch.zeros(90, 16), ours), atol=1e-4, rtol=0.0)
    owners = torch.arange(90) % 4
    owned = engine.piece_log_probs(embeddings(4), ours, owners)
    torch.testing.assert_close(owned, piece_log_probs(network(), embeddings(4)[owners], ours), atol=1e-4, rtol=0.0)
    assert engine.beams(embeddings(3), DecodeOptions(candidates=8), 20).ids.shape[0] == 24


def test_without_a_gpu_it_says_that_nothing_is_captured() -> None:
    engine = GraphEngine(network(), EXACT)
    assert engine.reason == "its steps are launched one by one: the device is not a CUDA GPU"
    assert (engine.name, engine.max_pieces, engine.device.type) == ("graph", 48, "cpu")


def test_the_trial_lets_an_engine_serve_that_agrees_with_the_plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an engine as it is, When it is tried, Then it may serve
    engine, reason = tried(network(), EXACT)
    assert engine is not None
    assert reason == engine.reason
    # Given one that gets a step wrong, When it is tried, Then the plain loop has to serve, and the reason says so
    right = StaticNetwork.logits
    monkeypatch.setattr(StaticNetwork, "logits", lambda self, slots, position: right(self, slots, position) * 1.5)
    engine, reason = tried(network(), EXACT)
    assert engine is None
    assert "nats a piece from as likely as it says; expected at most 0.05" in reason

    # Given one that fails, When it is tried, Then likewise
    def fails(*given: object) -> None:
        raise RuntimeError("no kernel image is available\nmore")

    monkeypatch.setattr(StaticNetwork, "logits", fails)
    assert tried(network(), EXACT) == (None, "the graph engine fails on this device: no kernel image is available")


class Recorder:
    """Stands in for torch.cuda, and for a graph that remembers the work that was captured."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.refuses, self.captured, self.replayed, self.pools = refuses, 0, 0, 0

    def graph_pool_handle(self) -> tuple[int, int]:
        self.pools += 1
        return (0, self.pools)

    def CUDAGraph(self) -> Recorder:  # noqa: N802 - torch's name
        return self

    def graph(self, *given: object, **named: object) -> Recorder:
        return self

    def __enter__(self) -> None:
        if self.refuses:
            raise self.refuses
        self.captured += 1

    def __exit__(self, *given: object) -> None:
        pass

    def replay(self) -> None:
        self.replayed += 1


def test_work_is_done_then_captured_then_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given CUDA that records what it is asked for
    cuda, done = Recorder(), []
    monkeypatch.setattr(torch, "cuda", cuda)
    graphs = CudaGraphs(torch.device("cuda"))
    # When the same work comes four times, Then it is done once, captured once, and replayed each time but the first
    for _ in range(4):
        graphs.run("work", lambda: done.append(1))
    assert (len(done), cuda.captured, cuda.replayed) == (2, 1, 3)
    # And after its memory went away, it begins anew, in another pool
    graphs.forget()
    for _ in range(2):
        graphs.run("work", lambda: done.append(1))
    assert (len(done), cuda.captured, cuda.replayed, cuda.pools) == (4, 2, 4, 2)


def test_where_nothing_can_be_captured_the_work_goes_on_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given CUDA that captures nothing
    cuda, done = Recorder(RuntimeError("operation not permitted when stream is capturing\nmore")), []
    monkeypatch.setattr(torch, "cuda", cuda)
    graphs = CudaGraphs(torch.device("cuda"))
    # When work comes three times, Then it is done three times
    for _ in range(3):
        graphs.run("work", lambda: done.append(1))
    assert (len(done), cuda.replayed) == (3, 0)
    # And both the log and the reason say why
    assert graphs.obstacle == ("CUDA does not capture graphs here: operation not permitted when stream is capturing")
    assert "the steps are launched one by one" in caplog.text
