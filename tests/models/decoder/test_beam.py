"""Beam search: the cached, batched one against one that is slow and obviously right."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.decoder.test_engine import eager_to_end, embeddings
from tests.models.decoder.toy import random_network
from unembed.models.decoder.beam import beam_search
from unembed.models.decoder.engine import Generated, generate, log_likelihood
from unembed.models.decoder.ret import RET
from unembed.models.decoder.sampling import Sampler, restrict
from unembed.models.decoder.tokenizer import END
from unembed.schemas import GREEDY, DecodeOptions

LIMIT = 12
Text = tuple[int, ...]


def texts(generated: Generated) -> list[Text]:
    return [tuple(ids[:n]) for ids, n in zip(generated.ids.tolist(), generated.lengths.tolist(), strict=True)]


def plainly(network: RET, vector: Tensor, options: DecodeOptions, limit: int) -> list[Text]:
    """One row, every hypothesis as a list, the whole text again for each piece."""
    width = options.beams
    live: list[tuple[float, Text]] = [(0.0, ())]
    ended: list[tuple[float, Text]] = []
    for position in range(limit):
        grown: list[tuple[float, Text]] = []
        for total, ids in live:
            history = torch.tensor([ids], dtype=torch.int64)
            allowed = restrict(network(vector[None], history)[:, -1], history, options).log_softmax(dim=-1)[0]
            grown += [(total + float(value), (*ids, piece)) for piece, value in enumerate(allowed) if value.isfinite()]
        grown.sort(key=lambda one: -one[0])
        factor = (position + 1) ** options.length_penalty
        ended += [(total / factor, ids) for total, ids in grown[:width] if ids[-1] == END]
        ended = sorted(ended, key=lambda one: -one[0])[:width]
        live = [one for one in grown[: 2 * width] if one[1][-1] != END][:width]
        if len(ended) == width:
            break
    else:
        ended += [(total / limit**options.length_penalty, ids) for total, ids in live][: width - len(ended)]
    return [ids for _, ids in sorted(ended, key=lambda one: -one[0])]


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        DecodeOptions(candidates=1, beams=3),
        DecodeOptions(candidates=1, beams=4, length_penalty=0.0),
        DecodeOptions(candidates=1, beams=4, length_penalty=2.0, repetition_penalty=1.3, no_repeat_ngram=2),
    ],
    ids=["mean", "sum", "penalties"],
)
def test_the_cached_batched_search_finds_what_the_plain_one_finds(options: DecodeOptions) -> None:
    network, vectors = eager_to_end(), embeddings(12)
    found = texts(beam_search(network, vectors, options, LIMIT))
    assert found == [text for vector in vectors for text in plainly(network, vector, options, LIMIT)]
    assert len({len(text) for text in found}) > 3, "the test would prove little"


@pytest.mark.parametrize(
    "options", [GREEDY, GREEDY.model_copy(update={"repetition_penalty": 1.5, "no_repeat_ngram": 2})]
)
def test_one_beam_is_greedy(options: DecodeOptions) -> None:
    network, vectors = eager_to_end(), embeddings(24)
    sampler = Sampler(options, 0)
    greedy = generate(network, vectors, sampler, sampler.keys(torch.arange(24)), LIMIT)
    beam = beam_search(network, vectors, options, LIMIT)
    assert texts(beam) == texts(greedy)
    torch.testing.assert_close(beam.log_probs, greedy.log_probs)
    assert torch.equal(beam.truncated, greedy.truncated)


def test_a_row_finds_the_same_alone_and_among_others() -> None:
    network, vectors, options = eager_to_end(), embeddings(10), DecodeOptions(candidates=1, beams=4)
    together = texts(beam_search(network, vectors, options, LIMIT))
    alone = [text for row in range(10) for text in texts(beam_search(network, vectors[row : row + 1], options, LIMIT))]
    assert together == alone


@torch.no_grad()
def test_log_probabilities_are_those_of_the_whole_text() -> None:
    network, vectors, options = (
        eager_to_end(),
        embeddings(8),
        DecodeOptions(candidates=1, beams=4, repetition_penalty=1.5),
    )
    found = beam_search(network, vectors, options, LIMIT)
    means = found.log_probs.sum(dim=1) / found.lengths
    given = log_likelihood(network, vectors.repeat_interleave(4, dim=0), found)
    torch.testing.assert_close(given, means, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_wider_beams_find_likelier_texts() -> None:
    network, vectors = eager_to_end(), embeddings(32)

    def best(beams: int) -> float:
        options = DecodeOptions(candidates=1, beams=beams, length_penalty=0.0)
        found = beam_search(network, vectors, options, LIMIT)
        return float(found.log_probs.sum(dim=1)[::beams].mean())

    assert best(8) > best(1)


def test_beams_that_cannot_be_filled_are_empty_and_no_rows_give_no_rows() -> None:
    # Given a limit of one piece, which a vocabulary of 48 allows 47 times
    found = beam_search(random_network(), embeddings(2), DecodeOptions(candidates=1, beams=64), 1)
    # Then the other 17 beams of each row hold nothing
    assert (found.ids[:, 0] == 0).sum() == 2 * 17
    assert beam_search(random_network(), embeddings(0), DecodeOptions(candidates=1, beams=4), LIMIT).ids.shape[0] == 0
